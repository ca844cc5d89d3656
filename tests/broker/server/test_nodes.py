"""Evicting and banning nodes: what operators say on the admin socket, and what agents notice of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from ringfence.broker.server.node_api import NodeApi
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.broker.server.node import Node, csr, drain, ended, joined
from tests.broker.server.test_audit import records

DENIED = grpc.StatusCode.PERMISSION_DENIED


async def _evict(server: ServerUnderTest, node: Node) -> admin.NodeResult:
    done = await server.admin.EvictNodes(admin.EvictNodesRequest(spiffe_ids=[node.spiffe_id]))
    result: admin.NodeResult = done.results[0]
    return result


async def _ban(server: ServerUnderTest, node: Node, *, lift: bool = False) -> admin.NodeResult:
    done = await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id], lift=lift))
    result: admin.NodeResult = done.results[0]
    return result


async def _nodes(server: ServerUnderTest, **asked: Any) -> list[admin.Node]:
    return list((await server.admin.ListNodes(admin.ListNodesRequest(**asked))).nodes)


async def _end(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await drain(call)
    return failure.value


@pytest.mark.parametrize("how", ["evicted", "banned"])
async def test_an_open_stream_ends_at_once_with_the_next_step(tmp_path: Path, how: str) -> None:
    """The agent is told what happened and what helps, and it does not get back in with the same SVID."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")
            result = await (_evict if how == "evicted" else _ban)(server, node)
            assert (result.action, result.streams) == (how, 1)
            failure = await _end(stream.call)
        assert failure.code() is DENIED
        assert f"was {how}" in str(failure.details()) or f"is {how}" in str(failure.details())
        hint = dict(failure.trailing_metadata())["ringfence-hint-bin"].decode()  # type: ignore[arg-type,union-attr]
        assert ("ringfence token generate" if how == "evicted" else "ringfence node unban") in hint
        assert await ended(node) is DENIED


async def test_a_ban_outlives_a_restart_and_is_lifted_by_an_operator(tmp_path: Path) -> None:
    """Once it is lifted, the SVID that the node still has is good again."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        await _ban(server, node)
    async with running_server(tmp_path) as server:
        node.address = server.address
        assert await ended(node) is DENIED
        assert (await _ban(server, node, lift=True)).action == "unbanned"
        async with node.connected() as stream:
            await stream.hear("entries")


async def test_an_eviction_outlives_a_restart(tmp_path: Path) -> None:
    """It is on disk before it is told."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        await _evict(server, node)
    async with running_server(tmp_path) as server:
        node.address = server.address
        assert await ended(node) is DENIED
        assert await _nodes(server) == []


async def test_what_changes_nothing_says_so(tmp_path: Path) -> None:
    """Twice is as once; a ban is no eviction's to end; a node that is not known has no ban to lift."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        assert (await _ban(server, node, lift=True)).action == "unchanged"
        assert (await _ban(server, node)).action == "banned"
        assert (await _ban(server, node)).action == "unchanged"
        assert (await _evict(server, node)).action == "unchanged"
        [found] = await _nodes(server)
        assert found.banned


async def test_an_svid_from_before_the_last_attestation_stays_out(tmp_path: Path) -> None:
    """A stolen SVID does not come back in behind the node that attested again under the same name."""
    now = [system_clock()]
    async with running_server(tmp_path, clock=lambda: now[0]) as server:
        node = await joined(server)
        agents = server.parts.agent_api.agents
        [(known, _)] = agents.every()
        now[0] += timedelta(seconds=60)
        agents.know(replace(known, attested_at=int(now[0].timestamp()), serial="0" * 32))
        assert await ended(node) is DENIED


async def test_an_svid_whose_renewal_was_not_delivered_stays_good(tmp_path: Path) -> None:
    """The server has recorded a newer one; the node never got it."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        [(joined_as, _)] = server.parts.agent_api.agents.every()
        server.parts.agent_api.agents.know(replace(joined_as, attested_at=joined_as.attested_at - 2))
        async with node.connected() as stream:
            await stream.hear("entries")
            await stream.say(renew=pb.RenewRequest(id=1, csr=csr()))
            assert (await stream.hear("renew")).chain
        [newest] = [n.serial for n, _ in server.parts.agent_api.agents.every() if n.spiffe_id == node.spiffe_id]
        assert newest != joined_as.serial
        async with node.connected() as stream:
            await stream.hear("entries")


async def test_a_renewal_under_way_does_not_bring_an_evicted_node_back(tmp_path: Path) -> None:
    """It is refused, and the node stays unknown in memory and on disk."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        agents, agent = server.parts.agent_api.agents, SpiffeId.parse(node.spiffe_id)
        await _evict(server, node)
        with pytest.raises(RingfenceError) as caught:
            await agents.renewed(agent, "bb", 2_000_000_000)
        assert caught.value.kind is Kind.DENIED
        await agents.load()
        assert agents.every() == []


async def test_a_node_banned_between_connect_and_hello_is_served_nothing(tmp_path: Path) -> None:
    """Whoever was let in keeps no place that a later ban does not reach."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        agents = server.parts.agent_api.agents
        async with node.client() as client:
            call = client.Connect(timeout=30)
            async with asyncio.timeout(20):
                while not agents.connected:  # noqa: ASYNC110  # the server tells nobody
                    await asyncio.sleep(0.01)
            await _ban(server, node)
            await call.write(pb.AgentMessage(hello=pb.Hello(version="test")))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call.read()
            assert failure.value.code() is DENIED


async def test_nodes_are_listed_with_what_they_have_open(tmp_path: Path) -> None:
    """By ID or attestor; an ID that names none is not found."""
    async with running_server(tmp_path) as server:
        node, other = await joined(server), await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")
            assert {n.spiffe_id: n.streams for n in await _nodes(server)} == {node.spiffe_id: 1, other.spiffe_id: 0}
        [one] = await _nodes(server, spiffe_ids=[other.spiffe_id])
        assert (one.attestor, one.banned) == ("join_token", False)
        assert one.expires_at > one.attested_at
        assert await _nodes(server, attestor="x509pop") == []
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await _nodes(server, spiffe_ids=[node.spiffe_id + "x"])
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "spiffe_id",
    ["nonsense", "spiffe://other.org/ringfence/agent/join_token/a", f"spiffe://{TRUST_DOMAIN}/ringfence/server"],
)
async def test_only_nodes_can_be_evicted_or_banned(tmp_path: Path, spiffe_id: str) -> None:
    """And nothing is done to the others that were named beside."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        for call in (
            server.admin.EvictNodes(admin.EvictNodesRequest(spiffe_ids=[node.spiffe_id, spiffe_id])),
            server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id, spiffe_id])),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert not (await _nodes(server))[0].banned


async def test_a_call_names_a_bounded_number_of_nodes(tmp_path: Path) -> None:
    """More are refused before any is looked at."""
    async with running_server(tmp_path) as server:
        api = NodeApi(server.parts.agent_api.agents, TRUST_DOMAIN)
        with pytest.raises(RingfenceError, match="at most"):
            await api.evict_nodes(admin.EvictNodesRequest(spiffe_ids=["x"] * 1_001))


async def test_a_dry_run_says_what_would_become_of_nodes_and_leaves_them(tmp_path: Path) -> None:
    """Each as the call itself would then do it: with an open stream, banned, and never seen."""
    async with running_server(tmp_path) as server:
        node, banned = await joined(server), await joined(server)
        await _ban(server, banned)
        ids = [node.spiffe_id, banned.spiffe_id, "spiffe://example.org/ringfence/agent/join_token/none"]
        async with node.connected() as stream:
            await stream.hear("entries")
            requests: dict[str, tuple[Any, Any]] = {
                "evicted": (server.admin.EvictNodes, admin.EvictNodesRequest(spiffe_ids=ids)),
                "banned": (server.admin.BanNodes, admin.BanNodesRequest(spiffe_ids=ids)),
                "unbanned": (server.admin.BanNodes, admin.BanNodesRequest(spiffe_ids=ids, lift=True)),
            }
            before = await _nodes(server)
            for action, (call, request) in requests.items():
                request.dry_run = True
                tried = [(r.action, r.streams) for r in (await call(request)).results]
                assert await _nodes(server) == before, action
                assert (
                    tried
                    == {
                        "evicted": [("evicted", 1), ("unchanged", 0), ("unchanged", 0)],
                        "banned": [("banned", 1), ("unchanged", 0), ("banned", 0)],
                        "unbanned": [("unchanged", 0), ("unbanned", 0), ("unchanged", 0)],
                    }[action]
                )
            for action in ("unbanned", "banned"):
                call, request = requests[action]
                tried = [r.action for r in (await call(request)).results]
                request.dry_run = False
                assert [r.action for r in (await call(request)).results] == tried


async def test_the_reason_of_a_ban_is_shown_recorded_and_told_to_the_node(tmp_path: Path) -> None:
    """Also that of a revocation, and over a restart; one that is too long bans nobody."""
    async with running_server(tmp_path) as server:
        node, other = await joined(server), await joined(server)

        async def ban(reason: str, *, dry_run: bool = False) -> str:
            asked = admin.BanNodesRequest(spiffe_ids=[node.spiffe_id], reason=reason, dry_run=dry_run)
            done = await server.admin.BanNodes(asked)
            return str(done.results[0].action)

        with pytest.raises(grpc.aio.AioRpcError, match="at most 256 bytes"):
            await ban("x" * 257)
        assert not any(each.banned for each in await _nodes(server))
        for reason, action in (("laptop lost", "banned"), ("laptop lost", "unchanged"), ("sold", "banned")):
            assert [await ban(reason, dry_run=True), await ban(reason)] == [action, action]
        assert [await ban("", dry_run=True), await ban("")] == ["unchanged", "unchanged"]
        revocation = admin.RevokeIdentitiesRequest(nodes=[other.spiffe_id], reason="key in a log")
        await server.admin.RevokeIdentities(revocation)
        done = [record for record in await records(server.data_dir, "node.ban") if record.result == "ok"]
        assert [record.detail.get("reason", "") for record in done] == ["laptop lost", "laptop lost", "sold", ""]
    async with running_server(tmp_path) as server:
        shown = {each.spiffe_id: each.reason for each in await _nodes(server)}
        assert shown == {node.spiffe_id: "sold", other.spiffe_id: "key in a log"}
        with pytest.raises(RingfenceError, match="is banned: sold"):
            server.parts.agent_api.agents.admitted(SpiffeId.parse(node.spiffe_id))
        await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id], lift=True))
        assert [each.reason for each in await _nodes(server) if each.spiffe_id == node.spiffe_id] == [""]
