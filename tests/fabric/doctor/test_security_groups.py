"""What EFA needs of a security group."""

from __future__ import annotations

from ringfence.fabric.doctor.security_groups import security_groups
from tests.fabric.doctor import samples


def test_security_groups():
    """Everything to everywhere is no rule for EFA."""
    (group,) = security_groups(samples.GROUPS, "g")
    assert (group.id, group.egress_to_itself, group.ingress_from_itself) == ("sg-1", False, True)
