"""Fabrics beside each other: what clashes is found, and what only looks like it is not."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.fabric_lint import clashes
from ringfence.policy.risks import risks
from tests.policy.intent import FABRIC, GRANT, MESH, NOW, TRAINER, load, model_of

OTHER = FABRIC.replace("name: rail", "name: side").replace("192.168.50.0/24", "192.168.51.0/24")
OTHER = OTHER.replace('"ib*", "0000:17:00.0"', "eth1").replace("0x0012", "0x0013")


def found(*documents: str) -> list[tuple[str, str]]:
    """Codes and texts, but that no rule names the workload."""
    return [(one.code, one.message) for one in load(MESH, TRAINER, *documents).findings if one.code != "RF1302"]


def test_two_rails_of_their_own_are_nothing_to_look_at() -> None:
    """Nor is the grant of one."""
    assert found(FABRIC, OTHER, GRANT) == []


@pytest.mark.parametrize("cidr", ["192.168.50.0/24", "192.168.50.7/32", "192.168.0.0/16"])
def test_an_address_is_on_one_fabric(cidr: str) -> None:
    """Whichever of the two holds the other's, the set is refused."""
    findings = found(FABRIC, OTHER.replace("192.168.51.0/24", cidr))
    assert [code for code, _ in findings] == ["RF1215"]
    assert {word for word in findings[0][1].split() if "/" in word} == {"platform/rail", "platform/side"}
    assert load(MESH, TRAINER, FABRIC, OTHER.replace("192.168.51.0/24", cidr)).model is None


def test_a_fabric_may_say_an_address_twice() -> None:
    """Several networks of one fabric are one fabric's."""
    assert found(FABRIC.replace("[192.168.50.0/24]", "[192.168.50.0/24, 192.168.0.0/16]")) == []


def test_an_interface_of_two_is_told_apart_by_a_partition_or_by_nothing() -> None:
    """Tenants share a wire by their keys; two fabrics of one key on one interface are one."""
    shared = OTHER.replace("eth1", "ib7")
    assert found(FABRIC, shared) == []
    assert [code for code, _ in found(FABRIC, shared.replace("0x0013", "0x0012"))] == ["RF1317"]
    assert found(FABRIC.replace('"ib*"', '"ib*x"'.replace("*x", "7x")), shared.replace("0x0013", "0x0012")) == []


def test_the_partition_of_everybody_and_none_at_all_are_told() -> None:
    """Warnings: a cluster may be run so, and its owner is to know."""
    everybody = found(FABRIC.replace("0x0012", "0x7fff"))
    assert [code for code, _ in everybody] == ["RF1313"]
    assert [code for code, _ in found(FABRIC.replace("  partition: {pkey: 0x0012}\n", ""))] == ["RF1312"]
    assert load(MESH, TRAINER, FABRIC.replace("0x0012", "0x7fff")).model is not None
    plain = FABRIC.replace("kind: infiniband", "kind: tcp").replace("  partition: {pkey: 0x0012}\n", "")
    assert found(plain.replace("enforcedBy: pkey", "enforcedBy: host-firewall")) == []


def test_an_ended_grant_is_told_and_only_where_the_time_is_known() -> None:
    """It stays in the set, and does nothing."""
    ended = GRANT.replace("2027-01-31T00:00:00Z", f"{NOW.isoformat()}")
    assert found(FABRIC, ended) == [("RF1314", "team-a/llm expired at 2026-11-24T12:00:00+00:00")]
    late = load(MESH, TRAINER, FABRIC, ended, now=NOW - timedelta(seconds=1))
    assert [one.code for one in late.findings] == ["RF1302"]


@pytest.mark.parametrize("ports", ["[29500]", "[20000-29500, 50000]", "[22]", "[1-65535]"])
def test_a_port_that_gives_a_job_away_is_told(ports: str) -> None:
    """What listens there asks nobody who he is; on another plane it may be what the network is for."""
    opened = FABRIC.replace("[50000-51000]", ports)
    assert {code for code, _ in found(opened)} == {"RF1315"}
    assert found(opened.replace("  mtu:", "  plane: management\n  mtu:")) == []


def test_a_tenant_that_nobody_has_is_told() -> None:
    """A misspelt one shuts a team out, and lets nobody in."""
    assert found(FABRIC.replace("[team-a]", "[team-a, team-q]")) == [
        ("RF1316", "no workload is in team-q, a tenant of platform/rail")
    ]
    unread = TRAINER.replace("namespace: team-a", "namespace: team-q").replace("role: training", "role: x")
    assert [code for code, _ in found(FABRIC.replace("[team-a]", "[team-a, team-q]"), unread)] == ["RF1104"]


def test_that_nothing_enforces_a_fabric_is_a_risk() -> None:
    """Permitted, since it is honest, and listed for whoever asks."""
    model = model_of(MESH, TRAINER, FABRIC.replace("enforcedBy: pkey", "enforcedBy: nothing"))
    assert [one.code for one in risks(model, NOW)] == ["RF1409"]
    assert risks(model_of(MESH, TRAINER, FABRIC), NOW) == ()


NETWORKS = st.builds(
    lambda number, length: str(ip_network((number, length), strict=False)),
    st.sampled_from([0x0A000000, 0x0A010000, 0x0A010100, 0x0A800000, 0x0B000000]),
    st.integers(7, 26),
)


@given(st.lists(st.lists(NETWORKS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_whatever_overlaps_is_found_and_nothing_else(fabrics: list[list[str]]) -> None:
    """Held against comparing all with all: every pair that is named clashes, and every fabric that clashes is named."""
    texts = [
        OTHER.replace("name: side", f"name: f{at}")
        .replace("192.168.51.0/24", ", ".join(cidrs))
        .replace("0x0013", f"{at + 1:#06x}")
        for at, cidrs in enumerate(fabrics)
    ]
    nets = [[ip_network(cidr) for cidr in cidrs] for cidrs in fabrics]
    pairs = {
        (one, other)
        for one, other in combinations(range(len(nets)), 2)
        if any(a.overlaps(b) for a in nets[one] for b in nets[other])
    }
    named = [
        {int(word[-1]) for word in message.rstrip(".").split() if word.startswith("platform/f")}
        for code, message in found(*texts)
        if code == "RF1215"
    ]
    assert all(tuple(sorted(pair)) in pairs for pair in named)
    assert {at for pair in named for at in pair} == {at for pair in pairs for at in pair}


@given(st.lists(st.tuples(st.text("ab", max_size=4), st.sampled_from("XYZ")), max_size=12))
def test_a_claim_that_begins_with_anothers_clashes(claims: list[tuple[str, str]]) -> None:
    """Every owner with a clash is in a pair, and no other."""
    expected = {
        frozenset({mine, theirs})
        for (text, mine), (other, theirs) in combinations(claims, 2)
        if mine != theirs and (text.startswith(other) or other.startswith(text))
    }
    pairs = {frozenset(pair) for pair in clashes(claims)}
    assert pairs <= expected
    assert set().union(*pairs) == set().union(*expected)
