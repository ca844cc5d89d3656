"""Tenants in one partition and rendezvous for many are listed as risks, with the threat that they are a sign of."""

from __future__ import annotations

import pytest

from ringfence.policy.risks import risks
from ringfence.policy.threats import THREATS
from tests.policy.intent import FABRIC, GRANT, MESH, NOTEBOOK, NOW, TRAINER, load, model_of

STORE = TRAINER.replace("match:", "serves: [{name: c10d, port: 29500, protocol: tcp}], match:")
TWO = FABRIC.replace("[team-a]", "[team-a, team-b]")
JOIN = """
kind: Allow
metadata: {name: join, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: c10d}], owner: o, reason: r}
"""
OTHERS = "{workload: notebook, namespace: team-b}"


def found(*documents: str, store: str = STORE) -> list[tuple[str, str, str]]:
    """Code, text and threat of each risk."""
    model = model_of(MESH, store, NOTEBOOK, *documents)
    return [(one.code, one.message, "".join(one.threats[:1])) for one in risks(model, NOW)]


def test_two_tenants_of_one_partition_are_a_risk():
    """Of one fabric, and of two that have one key; each key of its own is none."""
    (one,) = found(TWO)
    assert one == ("RF1410", "team-a, team-b are in pkey 0x0012 together, by platform/rail", "FAB-02")
    side = FABRIC.replace("name: rail", "name: side").replace("192.168.50", "192.168.51").replace("team-a", "team-b")
    side = side.replace('"ib*", "0000:17:00.0"', "eth1")
    assert [code for code, _, _ in found(FABRIC, side)] == ["RF1410", "RF1410"]
    assert found(FABRIC, side.replace("0x0012", "0x0013")) == []


def test_what_tells_jobs_apart_by_itself_may_be_shared():
    """A packet filter has a set for each job; where nothing enforces, that is what is told."""
    tcp = TWO.replace("infiniband", "tcp").replace("pkey: 0x0012", "vlan: 5")
    assert found(tcp.replace("enforcedBy: pkey", "enforcedBy: host-firewall")) == []
    assert [code for code, _, _ in found(tcp.replace("enforcedBy: pkey", "enforcedBy: switch-acl"))] == ["RF1410"]
    assert [code for code, _, _ in found(TWO.replace("enforcedBy: pkey", "enforcedBy: nothing"))] == ["RF1409"]
    assert found(TWO.replace("  mtu", "  plane: storage\n  mtu")) == []


def test_a_store_is_for_the_job_alone():
    """Its own workload may join; everybody of a namespace, or of the mesh, is more than a job."""
    assert found(JOIN) == []
    for wide, who in (("{namespace: team-a}", "every workload of team-a"), ("{all: true}", "every workload")):
        (code, told, threat) = found(JOIN.replace("from: [{workload: trainer}]", f"from: [{wide}]"))[-1]
        assert (code, threat) == ("RF1411", "FAB-01")
        assert told.startswith(f"team-a/join lets {who} reach port 29500 of team-a/trainer")


def test_whoever_is_of_no_job_of_it_is_a_stranger():
    """Where a grant says what the job is; without one a name is all that there is to go by."""
    theirs = JOIN.replace("from: [{workload: trainer}]", f"from: [{OTHERS}]")
    assert found(theirs) == []
    assert [code for code, _, _ in found(theirs, FABRIC, GRANT)] == ["RF1411"]
    both = GRANT.replace("[{workload: trainer}]", f"[{{workload: trainer}}, {OTHERS}]")
    assert [code for code, _, _ in found(theirs, TWO, both)] == ["RF1410"]
    ended = GRANT.replace("2027-01-31T00:00:00Z", NOW.isoformat())
    assert found(theirs, FABRIC, ended) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("port: 29500", "port: 9000"), ("owner: o", "mode: shadow, owner: o"), ("kind: Allow", "kind: Deny")],
)
def test_what_lets_nobody_to_such_a_port_is_no_risk(before: str, after: str):
    """Another port, a rule in shadow, a Deny."""
    rule = JOIN.replace("from: [{workload: trainer}]", "from: [{namespace: team-a}]").replace(before, after)
    assert "RF1411" not in [code for code, _, _ in found(rule, store=STORE.replace(before, after))]


def test_findings_that_were_there_before_have_the_threat_too():
    """In the object and in the text."""
    everybody = [one for one in load(MESH, TRAINER, FABRIC.replace("0x0012", "0x7fff")).findings if one.threats]
    assert [(one.code, one.threats) for one in everybody] == [("RF1313", THREATS["FAB-03"].references)]
    assert str(everybody[0]).endswith("[FAB-03 AML.T0105 AML.T0012]")
