"""Fabrics and grants of the model: what they mean, whom they name, and what changes a hash."""

from __future__ import annotations

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import Source
from ringfence.policy.fabrics import Enforcer, Interface, InterfaceForm, Plane, PortSpan
from ringfence.policy.kept import kept
from ringfence.policy.load import Loaded
from tests.policy.intent import FABRIC, GRANT, MESH, NOTEBOOK, PULL, REGISTRY, TRAINER, load, model_of

# Before there were fabrics.
REVISION = "866a06c6d1e133c24a6e31e6d0e537671414737edce510648d174d6e4708a42c"


def errors(loaded: Loaded) -> list[tuple[str, str]]:
    """Each error's code and text."""
    return [(one.code, f"{one.message}. {one.hint}") for one in loaded.findings if one.level == "error"]


def test_a_fabric_is_what_its_document_says() -> None:
    """Interfaces in their order, since the first is the one to bootstrap on; the rest sorted."""
    text = FABRIC.replace("[192.168.50.0/24]", "['fd00:50::/64', 192.168.50.0/24]").replace("[50000-", "[7000, 50000-")
    fabric = model_of(MESH, TRAINER, text).fabrics["platform/rail"]
    assert fabric.plane is Plane.FABRIC
    assert fabric.interfaces == (Interface(InterfaceForm.PREFIX, "ib"), Interface(InterfaceForm.PCI, "0000:17:00.0"))
    assert fabric.cidrs == ("192.168.50.0/24", "fd00:50::/64")
    assert fabric.ports == (PortSpan(7000, 7000), PortSpan(50000, 51000))
    assert (fabric.mtu, fabric.tenants, fabric.enforced_by) == (4092, ("team-a",), Enforcer.PKEY)


def test_a_grant_names_identities_as_rules_do() -> None:
    """A workload of its own namespace, or every one of a tenant's."""
    both = GRANT.replace("[{workload: trainer}]", "[{workload: trainer}, {namespace: team-b}]")
    grant = model_of(MESH, TRAINER, NOTEBOOK, FABRIC.replace("[team-a]", "[team-a, team-b]"), both).fabric_grants
    assert set(grant["team-a/llm"].sources) == {
        Source(SpiffeId.parse("spiffe://example.test/ns/team-a/sa/trainer"), None),
        Source(None, "team-b"),
    }
    assert grant["team-a/llm"].fabric == "platform/rail"


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        (
            "name: rail, namespace: platform",
            "name: rial, namespace: platform",
            "RF1202",
            "Did you mean 'platform/rail'?",
        ),
        ("name: rail, namespace: platform", "name: rail", "RF1202", "fabric 'team-a/rail'"),
        ("workload: trainer", "workload: tariner", "RF1202", "Did you mean 'team-a/trainer'?"),
        ("{workload: trainer}", "{namespace: team-b}", "RF1216", "namespace 'team-b' is no tenant of platform/rail"),
        ("workload: trainer", "workload: notebook, namespace: team-b", "RF1216", "team-b/notebook is no tenant"),
    ],
)
def test_a_grant_reaches_nobody_that_is_not_there_or_no_tenant(old: str, new: str, code: str, says: str) -> None:
    """The whole set is refused, in the line of the name."""
    assert old in GRANT
    loaded = load(MESH, TRAINER, NOTEBOOK, FABRIC, GRANT.replace(old, new))
    assert loaded.model is None
    assert [(found, says in text) for found, text in errors(loaded)] == [(code, True)]


def test_a_fabric_without_tenants_is_granted_to_nobody() -> None:
    """Deny is where nothing is said."""
    loaded = load(MESH, TRAINER, FABRIC.replace("  tenants: [team-a]\n", ""), GRANT)
    assert [code for code, _ in errors(loaded)] == ["RF1216"]


@pytest.mark.parametrize("plane", [plane for plane in Plane if plane is not Plane.FABRIC])
def test_storage_and_management_are_not_granted(plane: Plane) -> None:
    """They stay with the rules, which deny by identity."""
    loaded = load(MESH, TRAINER, FABRIC.replace("  mtu:", f"  plane: {plane.value}\n  mtu:"), GRANT)
    assert [code for code, _ in errors(loaded)] == ["RF1217"]


def test_a_grant_of_a_fabric_that_is_in_error_is_not_blamed_as_well() -> None:
    """One finding a cause."""
    assert [code for code, _ in errors(load(MESH, TRAINER, FABRIC.replace("mtu: 4092", "mtu: x"), GRANT))] == ["RF1104"]


def test_names_are_unique_among_fabrics_and_among_grants() -> None:
    """A grant may have the name of its fabric."""
    assert [code for code, _ in errors(load(MESH, TRAINER, FABRIC, FABRIC))] == ["RF1201"]
    assert [code for code, _ in errors(load(MESH, TRAINER, FABRIC, GRANT, GRANT))] == ["RF1201"]
    same = GRANT.replace("name: llm, namespace: team-a", "name: rail, namespace: platform").replace(
        "{workload: trainer}", "{workload: trainer, namespace: team-a}"
    )
    assert errors(load(MESH, TRAINER, FABRIC, same)) == []


def test_an_intent_without_fabrics_has_the_revision_that_it_had() -> None:
    """Servers that are updated push nothing anew."""
    assert model_of(MESH, TRAINER, REGISTRY, PULL).revision == REVISION


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mtu: 4092", "mtu: 2044"),
        ('"ib*", "0000:17:00.0"', '"0000:17:00.0", "ib*"'),
        ("pkey: 0x0012", "pkey: 0x0013"),
        ("enforcedBy: pkey", "enforcedBy: nothing"),
        ("tenants: [team-a]", "tenants: [team-a, team-b]"),
        ("job: llm-7b", "job: llm-8b"),
        ("expires: 2027-01-31T00:00:00Z", "expires: 2027-01-31T00:00:01Z"),
        ("reason: pre-training", "reason: fine-tuning"),
        ("{workload: trainer}", "{namespace: team-a}"),
    ],
)
def test_every_word_of_both_counts_in_the_revision(old: str, new: str) -> None:
    """Each changes that of the set, and the hash of its own document alone."""
    before, after = FABRIC + "---" + GRANT, (FABRIC + "---" + GRANT).replace(old, new)
    assert before != after
    one, other = load(MESH, TRAINER, NOTEBOOK, before), load(MESH, TRAINER, NOTEBOOK, after)
    assert one.model is not None
    assert other.model is not None
    assert one.model.revision != other.model.revision
    assert sum(a.hash != b.hash for a, b in zip(one.documents, other.documents, strict=True)) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pkey: 0x0012", "pkey: 18"),
        ("kind: Fabric\n", "# the rail\nkind: Fabric\n"),
        ("expires: 2027-01-31T00:00:00Z", "expires: 2027-01-31T01:00:00+01:00"),
        ("0000:17:00.0", '0000:17:00.0", "ib*'),
        ("{workload: trainer}", "{workload: trainer, namespace: team-a}"),
    ],
)
def test_another_spelling_means_the_same(old: str, new: str) -> None:
    """Comments, forms of a number, offsets, what is said twice."""
    before, after = FABRIC + "---" + GRANT, (FABRIC + "---" + GRANT).replace(old, new)
    assert before != after
    assert model_of(MESH, TRAINER, before).revision == model_of(MESH, TRAINER, after).revision


def test_what_did_not_change_is_the_same_object() -> None:
    """So that whoever compares two models is quick."""
    before = model_of(MESH, TRAINER, FABRIC, GRANT)
    after = kept(model_of(MESH, TRAINER, FABRIC, GRANT.replace("llm-7b", "llm-8b")), before)
    assert after.fabrics["platform/rail"] is before.fabrics["platform/rail"]
    assert after.fabric_grants["team-a/llm"].job == "llm-8b"
