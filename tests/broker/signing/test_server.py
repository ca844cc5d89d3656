"""A server with signers."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509

from ringfence.broker.attest import process_trees
from ringfence.broker.issue import Answer, Issuer, Wanted
from ringfence.broker.keys.choice import MEMORY, KeyChoice
from ringfence.broker.signing.pool import Signers
from ringfence.broker.signing.port import Here
from ringfence.broker.store import ledger
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import LeafDraft, new_csr
from ringfence.certs.slot import X509Authority
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.server.harness import TRUST_DOMAIN, running_server, server_process
from tests.broker.world import AGENT, world
from tests.certs.material import new_key
from tests.ports import free_port

NODE = SpiffeId(TRUST_DOMAIN, "/ringfence/agent/join_token/one")


async def test_signers_killed_under_load_lose_nothing(tmp_path: Path) -> None:
    """Agents ask in parallel while every signer is killed: each gets its SVID, each serial is on record once."""
    async with running_server(tmp_path, signers=2) as server:
        signers, issuer = server.parts.signing, server.parts.issuer
        assert isinstance(signers, Signers)
        await signers.start()
        entry = await server.create_entry("spiffe://example.org/ns/a/sa/b", "unix:uid:1")
        request = new_csr(new_key())

        async def ask() -> list[Answer]:
            return await issuer.workload_svids(NODE, [Wanted(entry.id, request)] * 20)

        tasks = [asyncio.create_task(ask()) for _ in range(12)]
        await tasks[0]
        for pid in signers.pids:
            os.kill(pid, signal.SIGKILL)
        answers = [answer for done in await asyncio.gather(*tasks) for answer in done]
        assert not [answer.refused for answer in answers if answer.refused]
        serials = [f"{x509.load_der_x509_certificate(answer.chain[0]).serial_number:032x}" for answer in answers]
        assert len(set(serials)) == 240
        states = await server.parts.store.run(ledger.states)
        assert {states[serial] for serial in serials} == {ledger.ISSUED}
        assert ledger.INTENT not in states.values()


async def test_a_server_with_keys_in_memory_refuses_signers(tmp_path: Path) -> None:
    """At its start, in words."""
    with pytest.raises(RingfenceError, match="--signers needs keys"):
        async with running_server(tmp_path, keys=KeyChoice(MEMORY), signers=1):
            pass


async def test_intents_are_on_record_before_work_leaves(tmp_path: Path) -> None:
    """Whatever signs sees each serial of its batch as an intent, and none that is not."""
    async with world(tmp_path, MemoryKeys()) as w:
        seen: list[dict[str, str]] = []

        class Watched(Here):
            async def sign(self, authority: X509Authority, drafts: Sequence[LeafDraft]) -> list[bytes | RingfenceError]:
                seen.append(await w.store.run(ledger.states))
                return await super().sign(authority, drafts)

        entry = await w.entry()
        issuer = Issuer(w.trust.authority, w.registry, w.store, clock=w.clock, signing=Watched())
        await issuer.workload_svids(AGENT, [Wanted(entry.id, new_csr(new_key()))] * 3)
        assert [list(states.values()) for states in seen] == [[ledger.INTENT] * 3]
        assert set(await w.store.run(ledger.states)) == set(seen[0])


async def test_signers_die_with_a_server_that_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the server ends their input: no process with the keys is left behind."""
    port, http_port = free_port(), free_port()
    async with server_process(tmp_path, port=port, http_port=http_port, arguments=["--signers", "1"]) as server:
        assert server.process is not None
        while not (signers := await asyncio.to_thread(process_trees.children, server.process.pid)):
            pass
        watched = [os.pidfd_open(pid) for pid in signers]
        server.process.kill()
        for pidfd in watched:
            await asyncio.to_thread(select.select, [pidfd], [], [])
            os.close(pidfd)
