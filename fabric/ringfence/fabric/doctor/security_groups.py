"""Security groups as `aws ec2 describe-security-groups` lists them: what EFA needs of them.

EFA's packets are not IP's: only a rule for all protocols that names the group itself lets them out and in. A rule for
0.0.0.0/0 does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringfence.fabric.doctor.bounded import from_json, objects, words

_ALL = "-1"


@dataclass(frozen=True, slots=True)
class Group:
    """One group, read from *path*; whether it lets its own members' EFA out and in."""

    path: str
    id: str
    egress_to_itself: bool
    ingress_from_itself: bool


def security_groups(text: str, path: str) -> tuple[Group, ...]:
    """The groups in *text* from *path*; nothing for anything else."""
    told = from_json(text)
    listed = objects(told.get("SecurityGroups")) if isinstance(told, dict) else []
    return tuple(
        Group(path, name, _names_itself(one, "IpPermissionsEgress", name), _names_itself(one, "IpPermissions", name))
        for one in listed
        if (name := words(one.get("GroupId")))
    )


def _names_itself(group: dict[str, Any], field: str, name: str) -> bool:
    return any(
        words(pair.get("GroupId")) == name
        for rule in objects(group.get(field))
        if words(rule.get("IpProtocol")) == _ALL
        for pair in objects(rule.get("UserIdGroupPairs"))
    )
