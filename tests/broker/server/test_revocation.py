"""Revocation at the server: what operators say on the admin socket, and what agents and other peers notice of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from ringfence.certs.crl import read_crl
from ringfence.certs.profile import new_csr
from ringfence.certs.revocation import serial_of
from ringfence.proto.client import Client
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import TRAINER, Node, Stream, csr, drain, ended, joined, refusal

DENIED = grpc.StatusCode.PERMISSION_DENIED


async def revoke(server: ServerUnderTest, **asked: Any) -> admin.RevokeIdentitiesResponse:
    """What an operator does."""
    done: admin.RevokeIdentitiesResponse = await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(**asked))
    return done


async def heard(stream: Stream) -> pb.Revoked:
    """The next that the agent is told of revocations."""
    return pb.Revoked.FromString((await stream.hear("revoked")).revoked)


async def issued(stream: Stream, entry_id: str, server: ServerUnderTest | None = None) -> tuple[Node, str]:
    """A workload with an SVID that came by that stream, which may call *server*, and its serial."""
    workload = Node(server.address, server.bundle_pem) if server is not None else Node("", b"")
    await stream.say(svids=pb.SvidRequest(id=1, items=[pb.SvidItem(entry_id=entry_id, csr=new_csr(workload.key))]))
    [result] = (await stream.hear("svids")).results
    assert not result.code, result.detail
    workload.chain = list(result.chain)
    return workload, serial_of(x509.load_der_x509_certificate(result.chain[0]).serial_number)


@asynccontextmanager
async def calling(server: ServerUnderTest, stream: Stream, entry_id: str) -> AsyncIterator[tuple[Client, str]]:
    """A connection of a new workload, which was served a call, and the serial of its SVID."""
    workload, serial = await issued(stream, entry_id, server)
    async with workload.client() as client:
        await client.Challenge(pb.ChallengeRequest(), timeout=30)
        yield client, serial


async def test_an_agent_is_told_at_once_and_refused_the_rest(tmp_path: Path) -> None:
    """The identity with the reason, the list of its authority; then nothing more is issued for it."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            _, serial = await issued(stream, entry.id)
            done = await revoke(server, spiffe_ids=[TRAINER], reason="laptop lost")
            assert [(r.kind, r.action, r.documents) for r in done.results] == [("identity", "revoked", 1)]
            assert (done.agents, done.proxies, done.connections) == (1, 0, 0)
            told = await heard(stream)
            assert [(one.spiffe_id, one.reason) for one in told.identities] == [(TRAINER, "laptop lost")]
            assert list(told.serials) == [serial]
            if not told.crls:  # it is signed once the refusal is on its way
                told = await heard(stream)
            assert read_crl(told.crls[0]).serials == {serial}
            await stream.say(svids=pb.SvidRequest(id=2, items=[pb.SvidItem(entry_id=entry.id, csr=csr())]))
            [result] = (await stream.hear("svids")).results
            assert result.code == DENIED.value[0]
            assert "laptop lost" in result.detail


async def test_an_agent_that_was_away_is_told_before_anything_else(tmp_path: Path) -> None:
    """Whole, unless it holds exactly that; and that nothing is revoked any more, when it held something."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        await revoke(server, spiffe_ids=[TRAINER])
        async with node.connected() as stream:
            message = await stream.call.read()
            assert message.WhichOneof("message") == "revoked"
        digest = hashlib.sha256(message.revoked.revoked).digest()
        for held in (digest, b"another"):
            async with node.connected(revoked_digest=held) as stream:
                told = (await stream.call.read()).WhichOneof("message")
                assert (told == "revoked") is (held != digest)
        await server.admin.LiftRevocations(admin.LiftRevocationsRequest(spiffe_ids=[TRAINER]))
        async with node.connected(revoked_digest=digest) as stream:
            assert (await stream.call.read()).revoked.revoked == b""


async def test_each_agent_hears_of_its_own_serials_only(tmp_path: Path) -> None:
    """What went through another one is no business of its own; the list is for everybody."""
    async with running_server(tmp_path) as server:
        entry = await server.create_entry(TRAINER, "unix:uid:1")
        here, there = await joined(server), await joined(server)
        async with here.connected() as mine, there.connected() as other:
            _, serial = await issued(mine, entry.id)
            await revoke(server, serials=[serial], code="superseded")
            while not (told := await heard(other)).crls:
                assert not told.serials
            assert not told.serials
            assert list((await heard(mine)).serials) == [serial]
            assert (await issued(mine, entry.id))[1] != serial


async def test_a_revoked_node_is_out_with_all_that_it_got(tmp_path: Path) -> None:
    """Its stream ends, it does not come back, and what was issued through it is on the list; others go on."""
    async with running_server(tmp_path) as server:
        entry = await server.create_entry(TRAINER, "unix:uid:1")
        node, other = await joined(server), await joined(server)
        async with node.connected() as stream, other.connected() as neighbour:
            _, serial = await issued(stream, entry.id)
            await issued(neighbour, entry.id)
            done = await revoke(server, nodes=[node.spiffe_id], reason="stolen")
            [result] = done.results
            assert (result.kind, result.action, result.documents) == ("node", "revoked", 2)  # with its own SVID
            assert done.connections == 1
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await drain(stream.call)
            assert failure.value.code() is DENIED
            assert await ended(node) is DENIED
            await issued(neighbour, entry.id)
        found = await server.admin.ListRevocations(admin.ListRevocationsRequest())
        own = serial_of(x509.load_der_x509_certificate(node.chain[0]).serial_number)
        assert {one.serial for one in found.certificates} == {serial, own}
        assert {one.reason for one in found.certificates} == {"stolen"}
        [again] = (await revoke(server, nodes=[node.spiffe_id], reason="stolen")).results
        assert again.action == "unchanged"
        await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id], lift=True))
        assert await ended(node) is DENIED  # it may attest anew, and has to: its SVID stays revoked


async def test_a_revoked_certificate_is_refused_whatever_is_called(tmp_path: Path) -> None:
    """At the handshake, by its serial or by its identity; a connection without a certificate is nobody's."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            workload, serial = await issued(stream, entry.id, server)

            async def words() -> str:
                async with workload.client() as client:
                    return str((await refusal(client.Challenge(pb.ChallengeRequest(), timeout=30))).details())

            async with workload.client() as client:
                await client.Challenge(pb.ChallengeRequest(), timeout=30)
                await revoke(server, serials=[serial])
                assert "was revoked" in await words()
            workload, _ = await issued(stream, entry.id, server)
            async with workload.client() as client:
                await client.Challenge(pb.ChallengeRequest(), timeout=30)
            await revoke(server, spiffe_ids=[TRAINER])
            assert "was revoked" in await words()


async def test_an_open_connection_ends_with_its_certificate(tmp_path: Path) -> None:
    """Also one that calls nothing just now, and the caller is told that it was closed."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            async with calling(server, stream, entry.id) as (client, serial):
                assert (await revoke(server, serials=[serial])).connections == 1
                failure = await refusal(client.Challenge(pb.ChallengeRequest(), timeout=30))
                assert failure.code() is DENIED
            assert not server.parts.doorkeeper._inside.keys() - _connections(server, node)


def _connections(server: ServerUnderTest, node: Node) -> set[Any]:
    inside = server.parts.doorkeeper._inside
    return {connection for connection, guest in inside.items() if str(guest.spiffe_id) == node.spiffe_id}


async def test_a_revoked_authority_ends_what_was_opened_by_it(tmp_path: Path) -> None:
    """A connection whose certificate it signed is closed; the agent, which has renewed on its stream, stays."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            async with calling(server, stream, entry.id):
                for step in ("prepare", "activate", "taint"):
                    await server.admin.StepAuthority(admin.StepAuthorityRequest(kind="x509", step=step))
                await stream.say(renew=pb.RenewRequest(id=1, csr=csr()))
                await stream.hear("renew")
                before = server.parts.doorkeeper.ended
                await server.admin.StepAuthority(admin.StepAuthorityRequest(kind="x509", step="revoke"))
                async with asyncio.timeout(20):
                    while server.parts.doorkeeper.ended == before:  # noqa: ASYNC110  # the server tells nobody
                        await asyncio.sleep(0.01)
            await issued(stream, entry.id)


async def test_a_revocation_outlives_a_restart(tmp_path: Path) -> None:
    """It is on disk before it is told, and so is the list."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            await issued(stream, entry.id)
        await revoke(server, spiffe_ids=[TRAINER])
        before = await server.admin.ListRevocations(admin.ListRevocationsRequest())
    async with running_server(tmp_path) as server:
        assert await server.admin.ListRevocations(admin.ListRevocationsRequest()) == before
        node.address = server.address
        async with node.connected() as stream:
            told = await heard(stream)
            assert [one.spiffe_id for one in told.identities] == [TRAINER]
            assert list(told.crls) == [before.lists[0].crl]


async def test_every_act_is_in_the_audit_log(tmp_path: Path) -> None:
    """Who, what, why and how much; a dry run is no act."""
    async with running_server(tmp_path) as server:
        await revoke(server, spiffe_ids=[TRAINER], reason="laptop lost", dry_run=True)
        await revoke(server, spiffe_ids=[TRAINER], reason="laptop lost")
        await server.admin.LiftRevocations(admin.LiftRevocationsRequest(spiffe_ids=[TRAINER]))
        lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_bytes().splitlines()]
    acts = [line for line in lines if line["action"] in {"identity.revoke", "identity.lift"}]
    assert {line["subject"] for line in acts} == {TRAINER}
    assert [(line["action"], line["result"]) for line in acts] == [
        (action, result) for action in ("identity.revoke", "identity.lift") for result in ("begun", "ok")
    ]
    assert acts[1]["detail"] == {
        "reason": "laptop lost",
        "code": "",
        "until": 0,
        "results": [["identity", TRAINER, "revoked", 0]],
    }
    assert all(line["actor"].startswith("uid:") for line in acts)


async def test_what_is_lifted_by_time_is_recorded_as_the_servers_act(tmp_path: Path) -> None:
    """There is no call that would be."""
    now = [system_clock()]
    async with running_server(tmp_path, clock=lambda: now[0]) as server:
        await revoke(server, spiffe_ids=[TRAINER], until=int(now[0].timestamp()) + 60)
        now[0] += timedelta(seconds=61)
        await server.parts.revoker.keep()
        lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_bytes().splitlines()]
    [lifted] = [line for line in lines if line["action"] == "identity.lift"]
    assert (lifted["subject"], lifted["result"], lifted["actor"]) == (TRAINER, "ok", "server")


@pytest.mark.parametrize("serial", ["zz", "", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"])
async def test_what_is_no_serial_is_said_to_be_none(tmp_path: Path, serial: str) -> None:
    """Rather than not to be known."""
    async with running_server(tmp_path) as server:
        failure = await refusal(revoke(server, serials=[serial]))
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no serial number: that is 32 hexadecimal digits" in failure.details()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"nodes": [TRAINER]},
        {"serials": ["0" * 32]},
        {"spiffe_ids": [TRAINER], "code": "whim"},
        {"spiffe_ids": [f"{TRAINER}{number}" for number in range(1_001)]},
    ],
)
async def test_what_makes_no_sense_is_refused_whole(tmp_path: Path, asked: dict[str, Any]) -> None:
    """No node is banned for it, and nothing is revoked."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        nodes = [node.spiffe_id] * bool(asked) + asked.pop("nodes", [])
        failure = await refusal(revoke(server, nodes=nodes, **asked))
        assert failure.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        found = await server.admin.ListRevocations(admin.ListRevocationsRequest())
        assert not found.identities
        [known] = (await server.admin.ListNodes(admin.ListNodesRequest())).nodes
        assert not known.banned
