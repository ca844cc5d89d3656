"""Revocation as workloads meet it: a real server, a real agent, clients on its socket."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.certs.crl import read_crl
from ringfence.certs.revocation import serial_of
from ringfence.proto import workload
from ringfence.xds.types import SECRET
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, running_agent, status_of, workload_client
from tests.broker.agent.sds import sds
from tests.broker.agent.test_explaining import explain
from tests.broker.broker_api.harness import shown
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.ports import free_port

ID = "spiffe://example.org/ns/a/sa/w"
DENIED = grpc.StatusCode.PERMISSION_DENIED
BOUND = 25.0  # seconds, on however busy a machine: who is held waits for longer; perf/ measures what it takes
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


async def revoke(server: ServerUnderTest, **asked: Any) -> admin.RevokeIdentitiesResponse:
    """What an operator does."""
    done: admin.RevokeIdentitiesResponse = await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(**asked))
    return done


async def lift(server: ServerUnderTest) -> None:
    """And takes back."""
    await server.admin.LiftRevocations(admin.LiftRevocationsRequest(spiffe_ids=[ID]))


def serial(answer: Any) -> str:
    """That of the one SVID in an answer."""
    [svid] = answer.svids
    return serial_of(x509.load_der_x509_certificate(svid.x509_svid).serial_number)


def listed(answer: Any) -> frozenset[str]:
    """The serials on the one list in an answer."""
    return frozenset().union(*(read_crl(crl).serials for crl in answer.crl))


async def refusal(socket: Path) -> tuple[grpc.StatusCode, str]:
    """How a fetch ends that gets nothing; OK for one that gets something."""
    async with stream(socket) as call:
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return grpc.StatusCode.OK, ""


@asynccontextmanager
async def stream(socket: Path, method: str = "FetchX509SVID") -> AsyncIterator[Any]:
    """An open stream of the Workload API."""
    async with workload_client(socket) as client:
        call = getattr(client, method)(_REQUESTS[method](), metadata=HEADER, timeout=30)
        yield call
        call.cancel()


_REQUESTS = {
    "FetchX509SVID": workload.X509SVIDRequest,
    "FetchX509Bundles": workload.X509BundlesRequest,
    "FetchJWTBundles": workload.JWTBundlesRequest,
}


@pytest.mark.parametrize("method", _REQUESTS)
async def test_open_streams_of_a_revoked_workload_end(tmp_path: Path, method: str) -> None:
    """With PERMISSION_DENIED, mid-stream (SPIFFE_Workload_API.md section 5.2.1), and a new one is refused at once."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=60.0) as agent:
        await server.create_entry(ID, OWN_UID)
        async with stream(agent.socket, method) as call:
            await call.read()
            begun = time.monotonic()
            await revoke(server, spiffe_ids=[ID], reason="a secret of the operator's")
            code, words = await status_of(call)
            assert code is DENIED
            assert time.monotonic() - begun < BOUND
            assert "revoked" in words
            assert "a secret" not in words
        begun = time.monotonic()
        assert (await refusal(agent.socket))[0] is DENIED
        assert time.monotonic() - begun < BOUND  # not held, as one that may come would be


async def test_an_operator_on_the_node_is_told_why(tmp_path: Path) -> None:
    """`entry explain` has the reason that the workload itself is not shown."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        await first_svids(agent.socket)
        await revoke(server, spiffe_ids=[ID], reason="laptop lost")
        assert (await refusal(agent.socket))[0] is DENIED
        [match] = (await explain(agent, os.getpid())).entries
        assert match.detail == "its identity was revoked: laptop lost"


async def test_a_lifted_identity_is_served_anew(tmp_path: Path) -> None:
    """At the next call, with another key; the certificates from before stay on the list."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        before = serial(await first_svids(agent.socket))
        await revoke(server, spiffe_ids=[ID])
        assert (await refusal(agent.socket))[0] is DENIED
        await lift(server)
        async with asyncio.timeout(30):
            while (await refusal(agent.socket))[0] is DENIED:
                pass  # the agent has not heard of it yet
        answer = await first_svids(agent.socket)
        assert serial(answer) != before
        assert listed(answer) == {before}


async def test_a_workload_keeps_what_is_not_revoked(tmp_path: Path) -> None:
    """One of two identities goes from an open stream, which shows the other one on, and comes back when lifted."""
    other = "spiffe://example.org/ns/a/sa/other"
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        await server.create_entry(other, OWN_UID)
        async with stream(agent.socket) as call:
            await shown(call, ID, other)
            await revoke(server, spiffe_ids=[ID])
            await shown(call, other)
            await lift(server)
            await shown(call, ID, other)


async def test_a_burnt_key_is_replaced_on_the_open_stream(tmp_path: Path) -> None:
    """One serial: the workload gets another certificate and the list by push, and nobody has to ask."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        async with stream(agent.socket) as call, stream(agent.socket, "FetchX509Bundles") as bundles:
            first = await call.read()
            assert not (await bundles.read()).crl
            await revoke(server, serials=[serial(first)])
            while serial(answer := await call.read()) == serial(first) or not answer.crl:
                pass
            assert answer.svids[0].x509_svid_key != first.svids[0].x509_svid_key
            assert listed(answer) == {serial(first)}
            assert listed(await bundles.read()) == {serial(first)}
            root = x509.load_der_x509_certificate(answer.svids[0].bundle)
            assert x509.load_der_x509_crl(answer.crl[0]).is_signature_valid(root.public_key())  # type: ignore[arg-type]


async def test_tokens_of_a_revoked_identity_are_neither_given_nor_valid(tmp_path: Path) -> None:
    """Also one that was fetched before, which its own times would let live on."""
    other = "spiffe://example.org/ns/a/sa/other"
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        await server.create_entry(other, OWN_UID)
        async with workload_client(agent.socket) as client, stream(agent.socket) as call:
            asked = workload.JWTSVIDRequest(audience=["db"], spiffe_id=ID)
            token = (await client.FetchJWTSVID(asked, metadata=HEADER)).svids[0].svid
            check = workload.ValidateJWTSVIDRequest(audience="db", svid=token)
            assert (await client.ValidateJWTSVID(check, metadata=HEADER)).spiffe_id == ID
            await shown(call, ID, other)
            await revoke(server, spiffe_ids=[ID])
            await shown(call, other)  # the agent has heard of it
            with pytest.raises(grpc.aio.AioRpcError) as invalid:
                await client.ValidateJWTSVID(check, metadata=HEADER)
            assert invalid.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "revoked" in str(invalid.value.details())
        await revoke(server, spiffe_ids=[other])
        assert (await refusal(agent.socket))[0] is DENIED
    kept = json.loads((tmp_path / "agent" / "cache.json").read_text())
    assert (kept["tokens"], kept["svids"]) == ([], {})


async def test_secrets_of_a_revoked_identity_are_withdrawn(tmp_path: Path) -> None:
    """An Envoy's stream ends, and it gets none again."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"unix:{agent.socket}", options=options) as channel:
            first, second = sds(channel, "StreamSecrets")(), sds(channel, "StreamSecrets")()
            await first.write({"resource_names": [ID], "type_url": SECRET})
            assert await first.read() is not _EOF
            await revoke(server, spiffe_ids=[ID])
            assert (await status_of(first))[0] is DENIED
            agent.hold_for(0.5)
            await second.write({"resource_names": [ID], "type_url": SECRET})
            assert (await status_of(second))[0] is DENIED


async def test_a_restarted_agent_refuses_without_its_server(tmp_path: Path) -> None:
    """What is revoked is kept with the rest, and no SVID or key of it is on the disk any more."""
    async with running_server(tmp_path) as server:
        await server.create_entry(ID, OWN_UID)
        async with running_agent(tmp_path, server) as agent:
            await first_svids(agent.socket)
            await revoke(server, spiffe_ids=[ID])
            assert (await refusal(agent.socket))[0] is DENIED
        address = server.address
    assert not json.loads((tmp_path / "agent" / "cache.json").read_text())["svids"]
    async with running_agent(tmp_path, None, address=address, joined=True) as agent:
        assert (await refusal(agent.socket))[0] is DENIED


async def test_an_agent_that_was_away_learns_of_it(tmp_path: Path) -> None:
    """Before it serves anything new; a server that was restarted meanwhile tells the same."""
    port = free_port()
    async with running_server(tmp_path, listen=f"127.0.0.1:{port}") as server:
        await server.create_entry(ID, OWN_UID)
        async with running_agent(tmp_path, server) as agent:
            await first_svids(agent.socket)
        await revoke(server, spiffe_ids=[ID])
    async with (
        running_server(tmp_path, listen=f"127.0.0.1:{port}") as server,
        running_agent(tmp_path, server, joined=True) as agent,
        stream(agent.socket) as call,
    ):
        assert (await status_of(call))[0] is DENIED


@pytest.mark.parametrize("how", ["revoked", "banned", "evicted"])
async def test_a_node_that_is_turned_away_serves_nothing(tmp_path: Path, how: str) -> None:
    """Its streams end, its disk holds nothing that it got, and a restart without the server changes neither."""
    async with running_server(tmp_path) as server:
        await server.create_entry(ID, OWN_UID)
        async with running_agent(tmp_path, server) as agent, stream(agent.socket) as call:
            await call.read()
            [node] = (await server.admin.ListNodes(admin.ListNodesRequest())).nodes
            if how == "revoked":
                await revoke(server, nodes=[node.spiffe_id])
            elif how == "banned":
                await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id]))
            else:
                await server.admin.EvictNodes(admin.EvictNodesRequest(spiffe_ids=[node.spiffe_id]))
            assert (await status_of(call))[0] is DENIED
        kept = json.loads((tmp_path / "agent" / "cache.json").read_text())
        assert (kept["svids"], kept["tokens"], kept["entries"]) == ({}, [], "EAEoAQ==")
        address = server.address
    async with running_agent(tmp_path, None, address=address, joined=True, hold=0.2) as agent:
        assert (await refusal(agent.socket))[0] is DENIED


async def test_a_node_whose_ban_is_lifted_serves_again(tmp_path: Path) -> None:
    """It tries on, and gets everything anew."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=20.0) as agent:
        await server.create_entry(ID, OWN_UID)
        async with stream(agent.socket) as call:
            before = serial(await call.read())
            [node] = (await server.admin.ListNodes(admin.ListNodesRequest())).nodes
            await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id]))
            assert (await status_of(call))[0] is DENIED
        await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id], lift=True))
        assert serial(await first_svids(agent.socket, timeout=20)) != before


async def test_a_server_that_is_away_takes_nothing_away(tmp_path: Path) -> None:
    """Only a server that says no does: an agent alone serves what is still valid."""
    async with running_server(tmp_path) as server:
        await server.create_entry(ID, OWN_UID)
        agents = running_agent(tmp_path, server)
        agent = await agents.__aenter__()
        await first_svids(agent.socket)
    try:
        async with asyncio.timeout(30):
            while agent.agent is None or agent.agent.last_failure is None:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        assert (await first_svids(agent.socket)).svids
    finally:
        await agents.__aexit__(None, None, None)
