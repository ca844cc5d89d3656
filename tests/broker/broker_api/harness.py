"""Brokers for tests: certificates of any trust domain, clients over mutual TLS, and workloads to name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography import x509
from google.rpc import error_details_pb2, status_pb2

from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Connection, load_chain
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.broker.broker_api.allowed import KUBERNETES, PID, Broker, BrokerConfig
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.proto import broker as wire
from ringfence.proto.client import Client
from tests import attacks
from tests.broker.agent.harness import AgentUnderTest
from tests.broker.server.harness import ServerUnderTest

PROXY = "spiffe://example.org/node-proxy"
HEADER = (wire.SECURITY_HEADER,)
REQUESTS: dict[str, Any] = {
    "SubscribeToX509SVID": wire.SubscribeToX509SVIDRequest,
    "SubscribeToX509Bundles": wire.SubscribeToX509BundlesRequest,
    "SubscribeToJWTBundles": wire.SubscribeToJWTBundlesRequest,
    "FetchJWTSVID": wire.FetchJWTSVIDRequest,
}
STREAMS = tuple(name for name in REQUESTS if name != "FetchJWTSVID")


def broker_config(tmp_path: Path, *brokers: Broker, port: int = 0) -> BrokerConfig:
    """The socket that tests use, and *brokers*; without any, the node proxy that may do all of it."""
    allowed = brokers or (Broker(SpiffeId.parse(PROXY), {PID: False, KUBERNETES: True}),)
    return BrokerConfig(allowed, broker_socket(tmp_path), Address("127.0.0.1", port) if port else None)


def broker_socket(tmp_path: Path) -> Path:
    """In a folder of its own."""
    return tmp_path / "brokers" / "broker.sock"


async def credential(server: ServerUnderTest, spiffe_id: str = PROXY, *, ttl: int = 3600) -> HeldSvid:
    """An SVID of the server's trust domain."""
    key, found = new_key(), SpiffeId.parse(spiffe_id)
    return HeldSvid.of(await server.parts.issuer.own_svid(found, key.public_key(), ttl=ttl), key, found, 0)


def foreign_credential(authority: Authority, spiffe_id: str) -> HeldSvid:
    """An SVID that *authority* vouches for, as its own or not."""
    key, found = new_key(), SpiffeId.parse(spiffe_id)
    chain = authority.issue_x509(found, key.public_key(), now=datetime.now(UTC), ttl=timedelta(hours=1))
    return HeldSvid.of(chain, key, found, 0)


def forged_credential(spiffe_id: str, trust_domain: TrustDomain) -> tuple[HeldSvid, SpiffeBundle]:
    """A certificate for an ID that is not of *trust_domain*, whose authority signed it all the same; and its bundle."""
    keys, key, now = MemoryKeys(), new_key(), datetime.now(UTC)
    issuer = Authority.create(trust_domain, keys, now=now)
    leaf = attacks.forge(
        issuer.current.x509.certificate,
        attacks.signer(issuer, keys),
        key.public_key(),
        names=[x509.UniformResourceIdentifier(spiffe_id)],
        now=now,
    )
    return HeldSvid.of([leaf], key, SpiffeId.parse(spiffe_id), 0), issuer.bundle(1)


@dataclass(slots=True)
class Dialled:
    """A broker's connection."""

    client: Client
    channel: grpc.aio.Channel
    tls: ssl.SSLObject  # of the broker's side


def client_context(svid: HeldSvid | None, roots: bytes) -> ssl.SSLContext:
    """TLS that shows *svid*, and believes *roots* (DER)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=roots)
    context.set_alpn_protocols(["h2"])
    if svid is not None:
        load_chain(context, svid)
    return context


@asynccontextmanager
async def dial(server: ServerUnderTest, at: Path | int, svid: HeldSvid | None) -> AsyncIterator[Dialled]:
    """A broker with *svid* at a socket or a port."""
    context = client_context(svid, (await server.bundle()).x509_der())
    if isinstance(at, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", at, ssl=context)
    else:
        reader, writer = await asyncio.open_unix_connection(at, ssl=context, server_hostname="")
    connection = await Connection.over(reader, writer)
    try:
        client = Client(connection.channel, wire.DESCRIPTOR)
        yield Dialled(client, connection.channel, writer.get_extra_info("ssl_object"))
    finally:
        await connection.close()
        writer.transport.abort()


def request(method: str, reference: Any = None, **fields: Any) -> Any:
    """The request of *method* about what *reference*, a message, names; for tokens with an audience."""
    if method == "FetchJWTSVID":
        fields.setdefault("audience", ["db"])
    if reference is not None:
        fields["reference"] = wire.reference(reference)
    return REQUESTS[method](**fields)


def by_pid(pid: int) -> Any:
    """That process."""
    return wire.WorkloadPIDReference(pid=pid)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: its code, and what its ErrorInfo says."""

    code: grpc.StatusCode
    reason: str = ""
    domain: str = ""
    details: str = ""


async def ended(call: Any) -> Ended:
    """How *call* ends, whatever it answers before."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return _ended(error)
    return Ended(grpc.StatusCode.OK)


def _ended(error: grpc.aio.AioRpcError) -> Ended:
    sent: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs, whatever they say
    found = status_pb2.Status.FromString(sent.get("grpc-status-details-bin", b""))
    info = error_details_pb2.ErrorInfo()
    if found.details:
        assert found.details[0].Unpack(info)
        assert (found.code, found.message) == (error.code().value[0], error.details())
    return Ended(error.code(), info.reason, info.domain, error.details() or "")


@asynccontextmanager
async def workload(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of our own user that lives until its stdin is closed."""
    process = await asyncio.create_subprocess_exec(*(command or ("/bin/cat",)), stdin=-1, stdout=-1)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def cache_of(agent: AgentUnderTest) -> Any:
    """What the agent knows."""
    assert agent.agent is not None
    return agent.agent._cache


async def shown(call: Any, *spiffe_ids: str) -> Any:
    """The first message from here that shows these identities; a list or a bundle may have brought others before."""
    async with asyncio.timeout(20):
        while True:
            answer = await call.read()
            if sorted(svid.spiffe_id for svid in answer.svids) == sorted(spiffe_ids):
                return answer


async def until(holds: Callable[[], object]) -> None:
    """Return once *holds*."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
            await asyncio.sleep(0.005)
