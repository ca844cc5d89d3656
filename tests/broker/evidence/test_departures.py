"""What tried to leave: summed by workload, host and decision, bounded, with a next step for a person."""

from __future__ import annotations

import pytest

from ringfence.broker.evidence.departures import Departures
from ringfence.broker.evidence.record import EGRESS, HTTP, Record
from ringfence.broker.evidence.undeclared import next_step
from tests.policy.intent import HUB, MESH, TRAINER, model_of

TRAINER_ID = "spiffe://example.test/ns/team-a/sa/trainer"


def record(host: str, time_ns: int = 1, *, allowed: bool = False, point: str = EGRESS) -> Record:
    """One decision."""
    rule = "team-a/out" if allowed else "default-deny"
    return Record("id", allowed, rule, "", TRAINER_ID, host, point, time_ns)


def test_departures_are_summed_by_who_where_and_what_was_decided():
    """A thousand tries are one line, with when it began and when it was last."""
    found = Departures()
    for time_ns in (5, 3, 9):
        found.note(record("evil.example:443", time_ns))
    found.note(record("hub.example", 4, allowed=True))
    evil, hub = found.listed()
    assert (evil.host, evil.count, evil.first_ns, evil.last_ns, evil.allowed) == ("evil.example:443", 3, 3, 9, False)
    assert (hub.host, hub.count, hub.rule) == ("hub.example", 1, "team-a/out")
    assert [each.host for each in found.listed(denied_only=True)] == ["evil.example:443"]


def test_calls_within_the_mesh_are_none():
    """Only the way out is summed."""
    found = Departures()
    found.note(record("spiffe://example.test/ns/shared/sa/registry", point=HTTP))
    assert len(found) == 0


SERVER = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec: {match: [{unix.uid: 1002}], serves: [{name: http, port: 8080, protocol: http}]}
"""
BUCKETS = """
kind: External
metadata: {name: buckets, namespace: shared}
spec: {host: "*.s3.example", dynamic: {labels: one}, ports: [{name: https, port: 443, protocol: http}]}
"""


def test_a_workload_that_tries_every_name_costs_no_more():
    """The sums are bounded; what was longest not seen is dropped, and that is counted."""
    found = Departures(most=3)
    for number in range(5):
        found.note(record(f"{number}.example", number))
        found.note(record("often.example", number))
    assert {each.host for each in found.listed()} == {"3.example", "4.example", "often.example"}
    assert found.dropped == 3


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("evil.example:443", "Declare an External with host: evil.example, and an Allow from team-a/trainer to it"),
        ("HUB.example:443", "declares it as shared/hub: add an Allow from team-a/trainer to port https"),
        ("shared/hub", "declares it as shared/hub"),
        ("b.s3.example:443", "declares it as shared/buckets"),
        (
            "registry.shared.mesh:99",
            "serves http (8080): add an Allow from team-a/trainer to one of them, and dial its number",
        ),
        ("ledger.core.mesh", "No document declares Workload core/ledger"),
        ("169.254.169.254", "no workload may reach a metadata service"),
        ("[fd00:ec2::254]:80", "no workload may reach a metadata service"),
    ],
)
def test_each_denied_host_has_a_next_step(host: str, said: str):
    """What to declare, or that there is nothing to be done."""
    assert said in next_step(model_of(MESH, TRAINER, SERVER, HUB, BUCKETS), TRAINER_ID, host)


def test_a_workload_that_is_none_has_no_next_step():
    """Without intent, or for an identity that it does not know, nothing is advised."""
    assert next_step(None, TRAINER_ID, "evil.example") == ""
    assert next_step(model_of(MESH, TRAINER), "spiffe://other.test/x", "evil.example") == ""
    assert next_step(model_of(MESH, TRAINER), "10.0.0.1:7", "evil.example") == ""
