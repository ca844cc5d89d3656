"""Units by the paths of cgroups."""

from __future__ import annotations

import pytest

from ringfence.broker.attest.systemd import unit_of


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ({"": "/system.slice/trainer.service"}, "trainer.service"),
        ({"": "/system.slice/trainer.service/worker.service"}, "trainer.service"),
        ({"": "/user.slice/user-1000.slice/user@1000.service/app.slice/fake.service"}, "user@1000.service"),
        ({"": "/user.slice/user-1000.slice/session-3.scope"}, "session-3.scope"),
        ({"name=systemd": "/system.slice/old.service", "": "/"}, "old.service"),
        ({"": "/"}, ""),
        ({}, ""),
        ({"": "/docker/0123.service.x"}, ""),
    ],
)
def test_the_first_unit_on_the_path_counts(cgroups: dict[str, str], unit: str) -> None:
    """A unit below a unit was named by whoever it was delegated to, so only the outermost is believed."""
    assert unit_of(cgroups) == unit
