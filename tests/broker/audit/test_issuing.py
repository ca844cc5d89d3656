"""Issuing with an audit log: nothing is delivered that is not recorded, and refusals are recorded too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from ringfence.broker.audit.chain import ACTIVE
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event, Record, parse
from ringfence.broker.audit.transaction import recorded as run_recorded
from ringfence.broker.issue import Issuer, Wanted
from ringfence.broker.store import ledger
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from tests.broker.test_issue import csr
from tests.broker.world import AGENT, World, let_write, world


class Full(AuditLog):
    """A log whose disk is full when told to be."""

    full = False

    def _write(self, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super()._write(data)


@dataclass(slots=True)
class Recorded:
    """A world whose issuer has an audit log."""

    world: World
    issuer: Issuer
    log: Full
    path: Path

    async def records(self) -> list[Record]:
        """What was recorded."""
        data = await asyncio.to_thread(self.path.read_bytes)
        return [parse(line) for line in data.splitlines(keepends=True)]


@asynccontextmanager
async def recorded(folder: Path) -> AsyncIterator[Recorded]:
    """With its log in *folder*."""
    async with world(folder, MemoryKeys()) as w:
        path = folder / ACTIVE
        log = await asyncio.to_thread(lambda: Full.open(path, clock=w.clock))
        assert isinstance(log, Full)
        yield Recorded(w, Issuer(w.trust.authority, w.registry, w.store, clock=w.clock, audit=log), log, path)
        log.close()


async def test_a_batch_is_one_record_with_its_serials_and_refusals(tmp_path: Path) -> None:
    """So that issuing many costs one write."""
    async with recorded(tmp_path) as r:
        entry = await r.world.entry()
        wanted = [Wanted(entry.id, csr()), Wanted("x" * 500, csr()), Wanted(entry.id, csr())]
        answers = await r.issuer.workload_svids(AGENT, wanted)
        [found] = await r.records()
        assert (found.action, found.actor, found.subject) == ("svid.issue", str(AGENT), str(AGENT))
        assert found.result == "1 of 3 refused"
        serials = [f"{x509.load_der_x509_certificate(a.chain[0]).serial_number:032x}" for a in answers if a.chain]
        assert found.detail["issued"] == [[serial, str(entry.spiffe_id), entry.id] for serial in serials]
        [[asked, kind, why]] = found.detail["refused"]
        assert (asked, kind, len(why)) == ("x" * 64, "denied", 256)


async def test_a_batch_of_refusals_alone_is_recorded(tmp_path: Path) -> None:
    """An agent that asks for what it may not have leaves a trace."""
    async with recorded(tmp_path) as r:
        await r.issuer.workload_svids(AGENT, [Wanted("none", csr())])
        with pytest.raises(RingfenceError):
            await r.issuer.jwt_svid(AGENT, "none", ["a"])
        assert [(f.action, f.result, f.detail["kind"]) for f in await r.records()] == [
            ("svid.issue", "refused", "x509"),
            ("svid.issue", "refused", "jwt"),
        ]


async def test_tokens_are_recorded_by_their_id_and_never_themselves(tmp_path: Path) -> None:
    """The ledger's id of the token; no text of it."""
    async with recorded(tmp_path) as r:
        entry = await r.world.entry()
        token, _ = await r.issuer.jwt_svid(AGENT, entry.id, ["registry"])
        [found] = await r.records()
        [[job, spiffe_id, entry_id]] = found.detail["issued"]
        assert (spiffe_id, entry_id) == (str(entry.spiffe_id), entry.id)
        assert await r.world.store.run(ledger.states) == {job: ledger.ISSUED}
        assert token.split(".")[2].encode() not in await asyncio.to_thread(r.path.read_bytes)


async def test_nothing_is_delivered_when_the_record_cannot_be_written(tmp_path: Path) -> None:
    """The intents stay open in the ledger: it was signed, and nobody has it."""
    async with recorded(tmp_path) as r:
        entry = await r.world.entry()
        r.log.full = True
        for ask in (
            lambda: r.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())]),
            lambda: r.issuer.jwt_svid(AGENT, entry.id, ["a"]),
            lambda: r.issuer.workload_svids(AGENT, [Wanted("none", csr())]),
        ):
            with pytest.raises(RingfenceError, match="audit log cannot be written") as caught:
                await ask()
            assert caught.value.kind is Kind.EXHAUSTED
        assert len(await r.world.store.run(ledger.unfinished)) == 2
        r.log.full = False
        [answer] = await r.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        assert answer.chain


async def test_a_record_whose_change_was_not_committed_is_followed_by_one_that_says_so(tmp_path: Path) -> None:
    """The log never claims more than what happened."""
    async with recorded(tmp_path) as r:
        await let_write(r.world.store, allowed=False)
        with pytest.raises(RingfenceError):
            await run_recorded(
                r.world.store, r.log, lambda c: ledger.issued(c, ["a"]), lambda _: [Event("never.said", "x")]
            )
        assert not (await asyncio.to_thread(r.path.read_bytes))
        await let_write(r.world.store, allowed=True)

        def deferred(connection: object) -> None:
            # A constraint that is looked at when the transaction is committed, after the record was written.
            run = connection.exec_driver_sql  # type: ignore[attr-defined]
            run("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
            run("CREATE TABLE child (p INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
            run("INSERT INTO child VALUES (7)")

        with pytest.raises(RingfenceError):
            await run_recorded(r.world.store, r.log, deferred, lambda _: [Event("t.change", "x", actor="me")])
        found = await r.records()
        assert [(f.action, f.actor, f.result.split(":")[0]) for f in found] == [
            ("t.change", "me", "ok"),
            ("t.change", "me", "undone"),
        ]
