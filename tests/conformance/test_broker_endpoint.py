"""SPIFFE_Broker_Endpoint.md by the numbers of the checklist (1.9, lines 1 to 6), a test a rule."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.broker_api.allowed import PID, Broker
from ringfence.certs.broker_address import BrokerAddress
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import spiffe_id_of
from ringfence.proto import reflection
from ringfence.proto.client import Client
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent
from tests.broker.broker_api.harness import (
    HEADER,
    PROXY,
    REQUESTS,
    STREAMS,
    Ended,
    broker_config,
    broker_socket,
    by_pid,
    cache_of,
    client_context,
    credential,
    dial,
    ended,
    foreign_credential,
    forged_credential,
    request,
    until,
    workload,
)
from tests.broker.federation.endpoint import THEIRS, authority
from tests.broker.server.harness import ServerUnderTest, running_server

ID = "spiffe://example.org/ns/a/sa/w"
PARTNER = "spiffe://b.test/node-proxy"
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server with one entry, for processes of our user."""
    async with running_server(tmp_path) as running:
        await running.create_entry(ID, OWN_UID)
        yield running


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest, port: int) -> AsyncIterator[AgentUnderTest]:
    """Its agent, which serves our node proxy, and one of a partner."""
    ours = Broker(SpiffeId.parse(PROXY), {PID: True})
    theirs = Broker(SpiffeId.parse(PARTNER), {PID: False})
    async with running_agent(tmp_path, server, broker=broker_config(tmp_path, ours, theirs, port=port)) as up:
        yield up


async def _first(server: ServerUnderTest, at: Path | int, spiffe_id: str = PROXY) -> list[str]:
    """What a broker there gets for a workload."""
    async with dial(server, at, await credential(server, spiffe_id)) as broker, workload() as process:
        call = broker.client.SubscribeToX509SVID(request("SubscribeToX509SVID", by_pid(process.pid)), metadata=HEADER)
        answer = await call.read()
        call.cancel()
        return [svid.spiffe_id for svid in answer.svids]


async def test_1_9_1_it_is_served_by_unix_socket_and_by_tcp(server: ServerUnderTest, socket: Path, port: int) -> None:
    """1.9.1: gRPC on both; the socket is in a folder that is not everybody's."""
    assert await _first(server, socket) == [ID]
    assert await _first(server, port) == [ID]
    mode = await asyncio.to_thread(lambda: socket.parent.stat().st_mode)
    assert mode & 0o007 == 0


@pytest.mark.parametrize("method", sorted(REQUESTS))
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("broker.spiffe.io", "True"),),
        (("broker.spiffe.io", "false"),),
        (("broker.spiffe.io", "true"), ("broker.spiffe.io", "true")),
        (("workload.spiffe.io", "true"),),
    ],
)
async def test_1_9_2_every_call_needs_the_security_header(
    server: ServerUnderTest, socket: Path, method: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    """1.9.2: without exactly one `broker.spiffe.io: true` the answer is InvalidArgument."""
    async with dial(server, socket, await credential(server)) as broker, workload() as process:
        call = getattr(broker.client, method)(request(method, by_pid(process.pid)), metadata=metadata)
        assert (await ended(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_1_9_3_both_sides_show_an_svid_on_a_unix_socket_too(server: ServerUnderTest, socket: Path) -> None:
    """1.9.3: TLS 1.3 whose server certificate is the agent's own SVID, which a broker can hold against an ID."""
    async with dial(server, socket, await credential(server)) as broker, workload() as process:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(process.pid)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.OK
        assert broker.tls.version() == "TLSv1.3"
        leaf = broker.tls.getpeercert(binary_form=True)
        assert leaf is not None
        assert spiffe_id_of(leaf).path.startswith("/ringfence/agent/join_token/")


@pytest.mark.parametrize("by_tcp", [False, True])
async def test_1_9_3_a_broker_without_certificate_is_not_heard(
    server: ServerUnderTest, socket: Path, port: int, *, by_tcp: bool
) -> None:
    """1.9.3 and 5: the handshake fails, on a Unix socket too; nothing is answered."""
    async with dial(server, port if by_tcp else socket, None) as broker:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(1)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.UNAVAILABLE


async def test_1_9_3_plain_grpc_is_not_heard(socket: Path) -> None:
    """1.9.3: without TLS there is no Broker API."""
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    assert b"HTTP" not in await reader.read()
    writer.close()


async def test_1_9_3_tls_before_1_3_is_refused(server: ServerUnderTest, socket: Path) -> None:
    """1.9.3: the standard lets 1.2 be, and we do not need it."""
    context = client_context(await credential(server), (await server.bundle()).x509_der())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_unix_connection(socket, ssl=context, server_hostname="")


async def _refusal(server: ServerUnderTest, socket: Path, spiffe_id: str = PROXY) -> Ended:
    async with dial(server, socket, await credential(server, spiffe_id)) as broker:
        return await ended(broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(1)), metadata=HEADER))


async def test_1_9_3_who_is_not_listed_is_denied(server: ServerUnderTest, socket: Path) -> None:
    """1.9.3 and 5: a good SVID of our own trust domain is not enough; a name below a listed one is another."""
    for stranger in (ID, f"{PROXY}/x", f"{PROXY}x"):
        assert (await _refusal(server, socket, stranger)).code is DENIED


async def test_1_9_3_a_broker_of_a_trust_domain_that_is_not_federated_is_refused(
    server: ServerUnderTest, socket: Path
) -> None:
    """1.9.3 and 5: listing it is not enough; its own trust domain must be known here."""
    async with dial(server, socket, foreign_credential(authority(), PARTNER)) as broker:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(1)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.UNAVAILABLE


async def _federate(server: ServerUnderTest, agent: AgentUnderTest, text: bytes) -> None:
    await server.admin.SetBundle(pb.SetBundleRequest(trust_domain=THEIRS.name, bundle=text))
    await server.create_entry("spiffe://example.org/partner", "unix:uid:4242", federates_with=[THEIRS.name])
    await until(lambda: THEIRS in cache_of(agent).bundles.federated)


async def test_1_9_3_a_broker_of_a_federated_trust_domain_is_served_while_it_is_federated(
    server: ServerUnderTest, agent: AgentUnderTest, socket: Path
) -> None:
    """1.9.3: its chain is held against its own bundle at the handshake, and again when bundles change."""
    issuer = authority()
    await _federate(server, agent, issuer.bundle(1).to_json())
    async with dial(server, socket, foreign_credential(issuer, PARTNER)) as broker, workload() as process:
        call = broker.client.SubscribeToJWTBundles(
            request("SubscribeToJWTBundles", by_pid(process.pid)), metadata=HEADER
        )
        assert await call.read()
        await server.admin.SetBundle(
            pb.SetBundleRequest(trust_domain=THEIRS.name, bundle=authority().bundle(2).to_json())
        )
        assert (await ended(call)).code is grpc.StatusCode.UNAUTHENTICATED


async def test_1_9_3_no_trust_domain_vouches_for_a_broker_of_another(
    server: ServerUnderTest, agent: AgentUnderTest, socket: Path
) -> None:
    """1.9.3: a partner's authority that signs our node proxy's ID is believed by TLS, and is not by us."""
    forged, bundle = forged_credential(PROXY, THEIRS)
    await _federate(server, agent, bundle.to_json())
    async with dial(server, socket, forged) as broker:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(1)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.UNAUTHENTICATED


async def test_1_9_3_a_connection_ends_with_the_certificate_that_opened_it(
    server: ServerUnderTest, socket: Path
) -> None:
    """1.9.3: with Unavailable, so that the broker connects again, with its next one."""
    async with dial(server, socket, await credential(server, ttl=1)) as broker, workload() as process:
        call = broker.client.SubscribeToX509SVID(request("SubscribeToX509SVID", by_pid(process.pid)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/b.sock", BrokerAddress(path="/run/b.sock")),
        ("unix:/run/b.sock", BrokerAddress(path="/run/b.sock")),
        ("tcp://127.0.0.1:8443", BrokerAddress(host="127.0.0.1", port=8443)),
        ("tcp://[::1]:8443", BrokerAddress(host="::1", port=8443)),
        ("tcp://broker.example.com:8443", BrokerAddress(host="broker.example.com", port=8443)),
    ],
)
def test_1_9_4_the_variable_names_a_socket_or_a_port(text: str, address: BrokerAddress) -> None:
    """1.9.4: as for the Workload API, and a host may be a name."""
    assert BrokerAddress.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/b.sock",
        "unix://host/b.sock",
        "unix:b.sock",
        "unix:///",
        "unix:////run/b.sock",
        "unix:///b.sock?x",
        "unix:///b.sock#x",
        "unix:///b.sock\n",
        "tcp://broker.example.com",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:1/",
        "tcp://127.0.0.1:1?x",
        "tcp://user@127.0.0.1:1",
        "tcp://[::zz]:1",
        "tcp://::1:1",
        "tcp://:1",
        "https://127.0.0.1:1",
    ],
)
def test_1_9_4_whatever_else_is_refused(text: str) -> None:
    """1.9.4: nothing but the scheme and what it needs."""
    with pytest.raises(RingfenceError):
        BrokerAddress.parse(text)


@pytest.mark.parametrize("method", STREAMS)
async def test_1_9_5_a_shutdown_is_unavailable(tmp_path: Path, server: ServerUnderTest, method: str) -> None:
    """1.9.5: who is not refused comes back."""
    async with AsyncExitStack() as stack:
        async with running_agent(tmp_path, server, broker=broker_config(tmp_path)):
            broker = await stack.enter_async_context(dial(server, broker_socket(tmp_path), await credential(server)))
            process = await stack.enter_async_context(workload())
            call = getattr(broker.client, method)(request(method, by_pid(process.pid)), metadata=HEADER)
            assert await call.read()
        assert (await ended(call)).code is grpc.StatusCode.UNAVAILABLE


async def test_1_9_6_the_broker_api_and_nothing_else_is_served(server: ServerUnderTest, socket: Path) -> None:
    """1.9.6: unknown methods are Unimplemented, those of the Workload API and of WIT among them."""
    async with dial(server, socket, await credential(server)) as broker:
        for path in ("/spiffe.broker.API/FetchWITSVID", "/SpiffeWorkloadAPI/FetchX509SVID", "/other.Service/Call"):
            call = broker.channel.unary_unary(path, bytes, bytes)(b"", metadata=HEADER)
            assert (await ended(call)).code is grpc.StatusCode.UNIMPLEMENTED


async def test_1_9_6_reflection_is_for_brokers_of_this_node(server: ServerUnderTest, socket: Path, port: int) -> None:
    """1.9.6 and 2: with the header, on the Unix socket; it tells of the Broker API and of itself alone."""
    question = reflection.ServerReflectionRequest(list_services="")
    for at, metadata, code in (
        (socket, (), grpc.StatusCode.INVALID_ARGUMENT),
        (port, HEADER, grpc.StatusCode.UNIMPLEMENTED),
    ):
        async with dial(server, at, await credential(server)) as broker:
            # Refused before a question: grpcio calls a stream Internal if it is refused while a question is written.
            call = Client(broker.channel, reflection.DESCRIPTOR).ServerReflectionInfo(metadata=metadata)
            assert (await ended(call)).code is code
    async with dial(server, socket, await credential(server)) as broker:
        call = Client(broker.channel, reflection.DESCRIPTOR).ServerReflectionInfo(iter([question]), metadata=HEADER)
        names = [each.name for each in (await call.read()).list_services_response.service]
        assert names == ["grpc.reflection.v1.ServerReflection", "spiffe.broker.API"]
        assert (await ended(call)).code is grpc.StatusCode.OK


async def test_1_9_6_authorisation_runs_for_each_connection(server: ServerUnderTest, socket: Path) -> None:
    """1.9.6: no session ticket is given, with which a later connection would skip the certificate."""
    async with dial(server, socket, await credential(server)) as broker, workload() as process:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(process.pid)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.OK
        assert broker.tls.session is None or not broker.tls.session.has_ticket
