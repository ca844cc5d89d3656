"""The stream of a connected agent, by a grpcio client over real TLS."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from ringfence.broker.store import ledger
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.svid import parse_svid, spiffe_id_of
from ringfence.certs.wit_svid import validate_wit
from tests.broker.server.harness import TRUST_DOMAIN, running_server
from tests.broker.server.node import TRAINER, csr, drain, ended, joined


async def test_a_connected_agent_is_pushed_entries_as_they_change(tmp_path: Path) -> None:
    """First everything, then each change by itself, a removal with the identity that is to be dropped."""
    async with running_server(tmp_path) as server:
        first = await server.create_entry(TRAINER, "unix:uid:1000")
        node = await joined(server)
        async with node.connected() as stream:
            assert (await stream.hear("bundle")).bundle
            full = await stream.hear("entries")
            assert full.full
            assert [entry.id for entry in full.upserts] == [first.id]
            assert full.upserts[0].x509_ttl == 3600
            second = await server.create_entry(TRAINER, "unix:uid:1001")
            delta = await stream.hear("entries")
            assert not delta.full
            assert [entry.id for entry in delta.upserts] == [second.id]
            assert delta.revision > full.revision
            await server.delete_entry(first.id)
            assert (await stream.hear("entries")).removed == [first.id]
            await server.delete_entry(second.id)
            assert (await stream.hear("revocations")).spiffe_ids == [TRAINER]


async def test_an_agent_that_comes_back_is_sent_only_what_it_missed(tmp_path: Path) -> None:
    """The hello's revision is where the server goes on; one from the future means everything again."""
    async with running_server(tmp_path) as server:
        await server.create_entry(TRAINER, "unix:uid:1000")
        node = await joined(server)
        async with node.connected() as stream:
            revision = (await stream.hear("entries")).revision
        second = await server.create_entry(TRAINER, "unix:uid:1001")
        async with node.connected(revision=revision) as stream:
            missed = await stream.hear("entries")
            assert not missed.full
            assert [entry.id for entry in missed.upserts] == [second.id]
        async with node.connected(revision=revision + 99) as stream:
            assert (await stream.hear("entries")).full


async def test_an_agent_gets_svids_for_its_entries_only(tmp_path: Path) -> None:
    """A batch is answered item by item: its own entry with a chain, another agent's and an unknown one with DENIED."""
    async with running_server(tmp_path) as server:
        node, other = await joined(server), await joined(server)
        mine = await server.create_entry(TRAINER, "unix:uid:1000", parent_id=node.spiffe_id, x509_ttl=600)
        theirs = await server.create_entry(TRAINER, "unix:uid:1000", parent_id=other.spiffe_id)
        async with node.connected() as stream:
            assert [entry.id for entry in (await stream.hear("entries")).upserts] == [mine.id]
            items = [pb.SvidItem(entry_id=entry_id, csr=csr()) for entry_id in (theirs.id, mine.id, "none")]
            await stream.say(svids=pb.SvidRequest(id=7, items=items))
            response = await stream.hear("svids")
        assert response.id == 7
        codes = [result.code for result in response.results]
        denied = grpc.StatusCode.PERMISSION_DENIED.value[0]
        assert codes == [denied, 0, denied]
        svid = parse_svid(list(response.results[1].chain))
        assert str(svid.spiffe_id) == TRAINER
        assert svid.not_after - svid.not_before == timedelta(seconds=610)
        assert not response.results[0].chain


async def test_every_svid_is_in_the_ledger_as_issued(tmp_path: Path) -> None:
    """What was delivered is recorded under its serial."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        states = await server.parts.store.run(ledger.states)
        assert len(states) == 2  # the server's and the agent's
        assert set(states.values()) == {ledger.ISSUED}
        assert spiffe_id_of(node.chain[0]).is_reserved


async def test_an_agent_gets_jwt_svids_and_renews_its_own(tmp_path: Path) -> None:
    """JWT and renewal go over the same stream; a refused one says why."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        entry = await server.create_entry(TRAINER, "unix:uid:1000")
        async with node.connected() as stream:
            await stream.hear("entries")
            await stream.say(jwt=pb.JwtRequest(id=1, entry_id=entry.id, audience=["registry"]))
            assert (await stream.hear("jwt")).token.count(".") == 2
            await stream.say(jwt=pb.JwtRequest(id=2, entry_id=entry.id))
            assert (await stream.hear("jwt")).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            await stream.say(renew=pb.RenewRequest(id=3, csr=csr()))
            renewed = await stream.hear("renew")
            assert str(spiffe_id_of(renewed.chain[0])) == node.spiffe_id


@pytest.mark.parametrize("features", [frozenset(), frozenset({"wit-svid"})])
async def test_an_agent_gets_wit_svids_with_the_feature_only(tmp_path: Path, features: frozenset[str]) -> None:
    """Otherwise it is told that there are none."""
    async with running_server(tmp_path, features=features) as server:
        node = await joined(server)
        entry = await server.create_entry(TRAINER, "unix:uid:1000")
        async with node.connected() as stream:
            await stream.hear("entries")
            await stream.say(wit=pb.WitRequest(id=1, entry_id=entry.id, csr=csr()))
            answer = await stream.hear("wit")
            if features:
                wit = validate_wit(answer.token, {TRUST_DOMAIN: await server.bundle()}, now=system_clock())
                assert (str(wit.spiffe_id), int(wit.expires_at.timestamp())) == (TRAINER, answer.expires_at)
            else:
                assert answer.code == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_a_rotation_reaches_agents_bundle_first(tmp_path: Path) -> None:
    """A new authority is in the bundle before agents are told to renew, and their old SVIDs still connect."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")
            before = await server.bundle()
            await server.admin.Rotate(admin.RotateRequest(authority=True))
            update = SpiffeBundle.parse(TRUST_DOMAIN, (await stream.hear("bundle")).bundle)
            assert len(update.x509_authorities) == 2
            assert update.sequence > before.sequence
            assert (await stream.hear("rotate")).spread_ms > 0
        node.roots = server.bundle_pem
        async with node.connected() as stream:
            await stream.hear("entries")


async def test_a_stream_ends_with_the_svid_it_was_opened_with(tmp_path: Path) -> None:
    """An agent whose SVID has ended by the server's clock is not served on, however long its connection lived."""
    now = [system_clock()]
    async with running_server(tmp_path, clock=lambda: now[0]) as server:
        node = await joined(server)
        now[0] += timedelta(hours=2)
        assert await ended(node) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stopping_server_ends_streams_with_unavailable(tmp_path: Path) -> None:
    """Agents must come back, so they are never told OK or CANCELLED."""
    running = running_server(tmp_path)
    server = await running.__aenter__()
    node = await joined(server)
    async with node.client() as client:
        call = client.Connect(timeout=20)
        await call.write(pb.AgentMessage(hello=pb.Hello(version="test")))
        await call.read()
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await drain(call)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        await stopping
