"""The inventory of a running server, as operators ask for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.broker.access.present import calling
from ringfence.broker.access.rights import Caller, Rights, Subject
from ringfence.broker.cli.server import run
from ringfence.broker.server import upkeep
from ringfence.broker.server.inventory_api import InventoryApi
from ringfence.broker.server.main import config_of
from ringfence.broker.store import ledger
from ringfence.broker.store.ledger import Issuance
from ringfence.certs.errors import Kind
from ringfence.certs.profile import new_csr
from tests.broker.server.harness import ServerUnderTest, failure, running_server
from tests.broker.server.node import Node
from tests.broker.server.test_admin_api import INTENT, TRAINER
from tests.broker.world import Clock


async def joined(server: ServerUnderTest) -> Node:
    """An attested node."""
    node = Node(server.address, server.bundle_pem)
    await node.attest(await server.token())
    return node


async def fetched(node: Node, *entry_ids: str) -> list[str]:
    """Serials of new SVIDs for those entries; empty for one that is refused."""
    csr = new_csr(ec.generate_private_key(ec.SECP256R1()))
    async with node.connected() as stream:
        items = [agent.SvidItem(entry_id=entry_id, csr=csr) for entry_id in entry_ids]
        await stream.say(svids=agent.SvidRequest(id=1, items=items))
        results = (await stream.hear("svids")).results
    return [
        f"{x509.load_der_x509_certificate(result.chain[0]).serial_number:032x}" if result.chain else ""
        for result in results
    ]


async def explained(server: ServerUnderTest, subject: str) -> list[pb.IdentityReason]:
    """Why."""
    return list((await server.admin.ExplainIdentity(pb.ExplainIdentityRequest(subject=subject))).reasons)


async def test_what_was_issued_and_refused_is_listed(tmp_path: Path) -> None:
    """With the node that asked; Ringfence's own identities too."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000", x509_ttl=300)
        node = await joined(server)
        [serial, _] = await fetched(node, made.id, "none")
        found = (await server.admin.ListIdentities(pb.ListIdentitiesRequest())).identities
        by = {each.serial: each for each in found}
        assert (by[serial].spiffe_id, by[serial].node, by[serial].state) == (TRAINER, node.spiffe_id, "live")
        assert by[serial].expires_at - by[serial].recorded_at == 300
        assert {each.spiffe_id for each in found if not each.entry_id and each.state == "live"} == {
            node.spiffe_id,
            "spiffe://example.org/ringfence/server",
        }
        [refused] = [each for each in found if each.state == "refused"]
        assert "has no entry none" in refused.reason
        soon = await server.admin.ListIdentities(pb.ListIdentitiesRequest(expiring=600))
        assert [each.serial for each in soon.identities] == [serial]


async def test_an_unknown_state_or_page_is_refused(tmp_path: Path) -> None:
    """And so is what nobody knows."""
    async with running_server(tmp_path) as server:
        places = ("x", "1", ":a", "1:", "-1:a", "\u0661:a", f"{10**18}:a", f"1:{'a' * 41}", "1:a\n")
        for request in (pb.ListIdentitiesRequest(state="dead"), *(pb.ListIdentitiesRequest(after=p) for p in places)):
            assert (await failure(server.admin.ListIdentities(request))).kind is Kind.INVALID
        for subject in ("spiffe://example.org/none", "00"):
            error = await failure(server.admin.ExplainIdentity(pb.ExplainIdentityRequest(subject=subject)))
            assert error.kind is Kind.NOT_FOUND


async def pages(server: ServerUnderTest, rights: Rights, *, after: str = "") -> list[tuple[list[str], str]]:
    """All that somebody with *rights* is answered page by page: serials, and where the next one begins."""
    parts, answered = server.parts, []
    api = InventoryApi(parts.store, parts.registry, parts.intent, parts.trust, parts.clock)
    with calling(Caller(Subject("somebody"), rights)):
        while not answered or after:
            page = await api.list_identities(pb.ListIdentitiesRequest(after=after))
            after = page.next
            answered.append(([each.serial for each in page.identities], after))
    return answered


@pytest.mark.parametrize("end", [0, 1])
async def test_no_page_names_what_its_reader_may_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    """Whoever sees one namespace gets whole pages of it, and the next begins behind one that was shown."""
    monkeypatch.setattr("ringfence.broker.server.inventory_api.PAGE", 2)
    async with running_server(tmp_path) as server:
        now = int(server.parts.clock().timestamp())
        names = [f"spiffe://example.org/ns/{namespace}/sa/w" for namespace in "baabbababb"]
        items = [
            Issuance(f"{number:032x}", "x509", name, "e", "n", "k", now + 60 + number * end)
            for number, name in enumerate(names)
        ]
        await server.parts.store.run(ledger.intend, items, now)
        mine = [item.serial for item in items if "/ns/a/" in item.spiffe_id]
        answered = await pages(server, Rights(views=frozenset({"a"})))
        assert [serial for serials, _ in answered for serial in serials] == mine
        assert [len(serials) for serials, _ in answered] == [2, 2]
        assert all(not after or after.partition(":")[2] in mine for _, after in answered)
        assert await pages(server, Rights(views=frozenset({"c"}))) == [([], "")]
        everything = await pages(server, Rights(admin=True))
        assert {item.serial for item in items} < {serial for serials, _ in everything for serial in serials}


async def test_a_page_goes_on_behind_one_that_is_gone(tmp_path: Path) -> None:
    """What was forgotten meanwhile still is a place in the list; nothing is skipped, nothing comes twice."""
    async with running_server(tmp_path) as server:
        now = int(server.parts.clock().timestamp())
        items = [Issuance(f"{number:032x}", "x509", TRAINER, "e", "n", "k", now + 60) for number in (1, 3)]
        await server.parts.store.run(ledger.intend, items, now)
        [(serials, _)] = await pages(server, Rights(admin=True), after=f"{now + 60}:{2:032x}")
        assert f"{3:032x}" in serials
        assert f"{1:032x}" not in serials


async def test_an_identity_of_intent_is_explained_by_its_document_and_line(tmp_path: Path) -> None:
    """And its life by the mesh, which the document leaves it to."""
    async with running_server(tmp_path) as server:
        applied = await server.apply(INTENT)
        trainers = pb.ListEntriesRequest(spiffe_id="spiffe://example.org/ns/a/sa/trainer")
        entry = (await server.admin.ListEntries(trainers)).entries[0]
        reasons = {reason.entry.id: reason for reason in await explained(server, entry.spiffe_id)}
        assert len(reasons) == 2  # a process that matches, and one that is launched
        reason = reasons[entry.id]
        assert reason.path == "intent/w.yaml"
        lines = INTENT["intent/w.yaml"].splitlines()
        assert any("trainer" in line for line in lines[reason.line - 1 : reason.line + 8])
        assert reason.revision == applied.revision
        assert "the document of a/trainer" in reason.why
        assert str(entry.selectors[0]) in reason.why
        assert not reason.HasField("identity")
        [serial] = await fetched(await joined(server), entry.id)
        [by_serial] = await explained(server, serial)
        assert (by_serial.path, by_serial.identity.serial) == (reason.path, serial)
        assert by_serial.ttl == 3600
        assert "the mesh says 3600 s" in by_serial.why_ttl


async def test_a_life_is_explained_by_what_set_it(tmp_path: Path) -> None:
    """The entry, the default, or the authority that ends before."""
    async with running_server(tmp_path) as server:
        own = await server.create_entry(TRAINER, "unix:uid:1000", x509_ttl=300)
        usual = await server.create_entry(TRAINER + "2", "unix:uid:1000")
        long = await server.create_entry(TRAINER + "3", "unix:uid:1000", x509_ttl=7 * 24 * 3600)
        serials = await fetched(await joined(server), own.id, usual.id, long.id)
        lives = [(await explained(server, serial))[0] for serial in serials]
        assert [life.why_ttl.split(" (")[0] for life in lives[:2]] == ["the entry says 300 s", "the default, 3600 s"]
        assert lives[2].why_ttl.startswith(f"cut short: its authority {lives[2].identity.authority} ends then")
        assert lives[2].ttl <= 24 * 3600


async def test_what_an_entry_gave_is_explained_after_it_is_gone(tmp_path: Path) -> None:
    """By identity and by serial."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000")
        [serial] = await fetched(await joined(server), made.id)
        await server.delete_entry(made.id)
        for subject in (TRAINER, serial):
            [reason] = await explained(server, subject)
            assert (reason.why, reason.identity.serial) == ("the entry that gave it is gone", serial)
            assert not reason.HasField("entry")


async def test_ringfences_own_identities_are_explained_as_such(tmp_path: Path) -> None:
    """No entry gives them."""
    async with running_server(tmp_path) as server:
        [reason] = await explained(server, "spiffe://example.org/ringfence/server")
        assert "Ringfence's own" in reason.why


async def test_what_ended_long_ago_is_forgotten_after_its_retention(tmp_path: Path) -> None:
    """As long as the server is told to keep it, and what lives stays."""
    clock = Clock()
    async with running_server(tmp_path, clock=clock) as server:
        parts = server.parts
        [own] = (await server.admin.ListIdentities(pb.ListIdentitiesRequest())).identities
        clock.turn(hours=1, minutes=9)
        await upkeep.forget(parts, 600)
        [kept] = (await server.admin.ListIdentities(pb.ListIdentitiesRequest())).identities
        assert (kept.serial, kept.state) == (own.serial, "ended")
        clock.turn(minutes=2)
        await upkeep.forget(parts, 600)
        assert not (await server.admin.ListIdentities(pb.ListIdentitiesRequest())).identities


def test_the_retention_is_a_day_unless_told(tmp_path: Path) -> None:
    """`--ledger-retention`, as durations are written."""
    given = ["--trust-domain", "example.org", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"]
    for more, kept in (([], timedelta(days=1)), (["--ledger-retention", "10m"], timedelta(minutes=10))):
        assert config_of(run.make_context("run", given + more).params).ledger_retention == kept
