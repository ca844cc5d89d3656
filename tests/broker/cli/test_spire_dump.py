"""A dump of SPIRE's entries, taken over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.cli.spire_dump import ALIAS, CHANGED, LEFT_OUT, Dump, Parents, read_dump
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server

TD = TrustDomain("example.org")
AGENT = "spiffe://example.org/spire/agent/k8s_psat/one/uid"
HERE = "spiffe://example.org/ringfence/agent/join_token/x"
NODES = "spiffe://example.org/ringfence/nodes"


def spire(name: str = "web", parent: str = AGENT, **fields: Any) -> dict[str, Any]:
    """An entry with every field, as protojson prints it."""
    return {
        "id": "5d4fb2b5-0000-4000-8000-000000000000",
        "spiffe_id": {"trust_domain": "example.org", "path": f"/ns/a/sa/{name}"},
        "parent_id": {"trust_domain": "example.org", "path": parent.removeprefix("spiffe://example.org")},
        "selectors": [{"type": "unix", "value": "uid:1000"}, {"type": "k8s", "value": "ns:a"}],
        "x509_svid_ttl": 600,
        "jwt_svid_ttl": 0,
        "federates_with": ["b.org"],
        "hint": "web",
        "admin": False,
        "created_at": "1678731397",
        "downstream": True,
        "expires_at": "4102444800",
        "dns_names": ["web.a.svc"],
        "revision_number": "3",
        "store_svid": False,
        **fields,
    }


def dump(*entries: Any, others: str = NODES, **named: str) -> Dump:
    """Read back."""
    text = json.dumps({"entries": entries, "next_page_token": ""}, indent=2)
    return read_dump(text, "dump.json", TD, Parents(named, others))


def test_every_field_is_taken_over() -> None:
    """Identity, selectors, lives, names, flags; 64-bit numbers are texts there."""
    attributes = {"jwt_svid_include_jti": True}
    [written] = dump(spire(additional_attributes=attributes), others=HERE).written
    entry = written.entry
    assert entry.spiffe_id == "spiffe://example.org/ns/a/sa/web"
    assert entry.parent_id == HERE
    assert list(entry.selectors) == ["k8s:ns:a", "unix:uid:1000"]
    assert (entry.x509_ttl, entry.jwt_ttl, entry.expires_at) == (600, 0, 4_102_444_800)
    assert (list(entry.federates_with), list(entry.dns_names), entry.hint) == (["b.org"], ["web.a.svc"], "web")
    assert (entry.admin, entry.downstream, entry.store_svid, entry.jwt_jti) == (False, True, False, True)


def test_older_spellings_are_read() -> None:
    """One TTL for all, IDs as text, trust domains as IDs."""
    old = spire(federates_with=["spiffe://b.org"], ttl=60, spiffe_id="spiffe://example.org/x")
    del old["x509_svid_ttl"]
    [written] = dump(old).written
    assert (written.entry.x509_ttl, written.entry.spiffe_id) == (60, "spiffe://example.org/x")
    assert list(written.entry.federates_with) == ["b.org"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (spire(selectors=[{"type": "gcp", "value": "a"}]), "gcp"),
        (spire(selectors=[{"type": "k8s", "value": "ns-label:team:x"}]), "k8s"),
        (spire(selectors=[]), "no selector"),
        (spire(selectors="all"), "selectors"),
        (spire(spiffe_id={"trust_domain": "other.org", "path": "/x"}), "trust domain"),
        (spire(spiffe_id={"trust_domain": "example.org", "path": "/ringfence/server"}), "not be registered"),
        (spire(spiffe_id=7), "SPIFFE ID"),
        (spire(parent_id=None), "SPIFFE ID"),
        (spire(x509_svid_ttl=999_999_999), "TTL"),
        (spire(x509_svid_ttl="soon"), "x509_svid_ttl"),
        (spire(admin="yes"), "admin"),
        (spire(hint=["x"]), "hint"),
        (spire(expires_at="1000"), "has ended"),
        (spire(new_in_spire_9={"a": 1}), "new_in_spire_9"),
        (spire(additional_attributes={"other": True}), "attribute other"),
        ("entry", "no entry of SPIRE"),
    ],
)
def test_what_cannot_be_said_is_listed_and_left_out(entry: Any, says: str) -> None:
    """By its line, never in silence and never half."""
    read = dump(spire("fine"), entry)
    assert [each.entry.spiffe_id[-4:] for each in read.written] == ["fine"]
    [note] = [note for note in read.notes if note.level == LEFT_OUT]
    assert says in note.message
    assert note.where != read.written[0].where


def test_a_parent_is_only_what_the_operator_says() -> None:
    """One by one, or every node for the rest; unsaid, the entry is left out."""
    other = "spiffe://example.org/spire/agent/join_token/y"
    read = dump(spire("a"), spire("b", other), spire("c", NODES), others="", **{AGENT: HERE})
    assert {w.entry.spiffe_id[-1]: w.entry.parent_id for w in read.written} == {"a": HERE, "c": NODES}
    assert [(note.level, other in note.message) for note in read.notes] == [(LEFT_OUT, True)]


def test_node_aliases_are_told_apart() -> None:
    """They give no workload an identity; their children take the parent given for the alias."""
    server = "spiffe://example.org/spire/server"
    alias = spire("cluster", server, selectors=[{"type": "gcp_iit", "value": "zone:one"}])
    token = spire("node", selectors=[{"type": "spiffe_id", "value": AGENT}])
    child = spire("web", "spiffe://example.org/ns/a/sa/cluster")
    read = dump(alias, token, child, others="", **{"spiffe://example.org/ns/a/sa/cluster": HERE})
    assert [(w.entry.spiffe_id[-3:], w.entry.parent_id) for w in read.written] == [("web", HERE)]
    assert [note.level for note in read.notes] == [ALIAS, ALIAS]


def test_an_alias_by_facts_that_are_proved_here_too_is_imported() -> None:
    """With its children under it; unless the operator names another parent for them."""
    server = "spiffe://example.org/spire/server"
    alias = spire("ca", server, selectors=[{"type": "x509pop", "value": "subject:cn:node"}])
    child = spire("web", "spiffe://example.org/ns/a/sa/ca")
    read = dump(alias, child, others="")
    assert not read.notes
    assert [(w.entry.spiffe_id[-3:], w.entry.parent_id.rpartition("/")[2]) for w in read.written] == [
        ("/ca", "server"),
        ("web", "ca"),
    ]
    named = dump(alias, child, others="", **{"spiffe://example.org/ns/a/sa/ca": HERE})
    assert [(w.entry.spiffe_id[-3:], w.entry.parent_id) for w in named.written] == [("web", HERE)]
    assert [note.level for note in named.notes] == [ALIAS]


def test_one_entry_a_node_becomes_one_for_every_node() -> None:
    """Said, when they are equal; left out, when they differ in more than the node."""
    other = "spiffe://example.org/spire/agent/join_token/y"
    read = dump(spire(), spire("web", other), spire("web", other + "z", hint="other"))
    assert len(read.written) == 1
    assert [note.level for note in read.notes] == [CHANGED, LEFT_OUT]


def test_what_is_kept_without_effect_is_said() -> None:
    """SVID stores, and a hint to agents that ours do not need."""
    read = dump(spire(store_svid=True), spire("b", additional_attributes={"disable_x509_svid_prefetch": True}))
    assert [note.level for note in read.notes] == [CHANGED, CHANGED]
    assert [each.entry.store_svid for each in read.written] == [True, False]


def test_what_is_no_dump_is_refused() -> None:
    """In words."""
    with pytest.raises(RingfenceError):
        read_dump("{", "dump.json", TD, Parents())


@pytest.mark.e2e
async def test_an_import_yields_the_same_identities(tmp_path: Path) -> None:
    """All or none unless told otherwise; again, nothing changes."""
    file = tmp_path / "dump.json"
    entries = [spire("a"), spire("b"), spire("c", selectors=[{"type": "gcp", "value": "x"}])]
    await asyncio.to_thread(file.write_text, json.dumps({"entries": entries}, indent=1))
    async with running_server(tmp_path) as server:
        command = ("entry", "import", "--from-spire", file, "--admin-socket", server.admin_socket)
        for flags, code in (((), 4), (("--any-node",), 4), (("--any-node", "--skip-unmapped", "--dry-run"), 0)):
            done = await ringfence(*command, *flags)
            assert (done.code, "left out: spiffe://example.org/ns/a/sa/c" in done.err) == (code, True)
            count = await ringfence("entry", "count", "--admin-socket", server.admin_socket, "-o", "name")
            assert count.out == "0\n"
        for action in ("created", "unchanged"):
            done = await ringfence(*command, "--any-node", "--skip-unmapped", "-o", "json")
            assert [item["action"] for item in done.json["items"]] == [action, action, "left out"]
        listed = await ringfence("entry", "list", "--admin-socket", server.admin_socket, "-o", "json")
        assert [item["spiffeId"][-1] for item in listed.json["items"]] == ["a", "b"]
        assert (await ringfence(*command, "--parent", "x")).code == 2
