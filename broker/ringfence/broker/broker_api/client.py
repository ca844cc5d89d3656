"""A broker of our own for the command line: fetches the X.509-SVIDs of a process that it names by pid."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ringfence.broker.agent.dial import Connection, load_chain
from ringfence.broker.agent.fetching import FetchedSvid, delivery, messages
from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.run.identity import split_der
from ringfence.broker.status import error_of
from ringfence.certs.broker_address import BrokerAddress
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import id_of_verified
from ringfence.proto import broker as wire
from ringfence.proto import workload
from ringfence.proto.client import Client


async def fetch_x509_for(
    pid: int,
    at: BrokerAddress,
    agent: SpiffeId,
    socket: str,
    timeout: float,  # noqa: ASYNC109  # of it all, in seconds
) -> list[FetchedSvid]:
    """What *agent*, whose Broker API is *at*, gives for the process *pid*, default first.

    Our own SVID is that of the Workload API at *socket*. Raises UNAVAILABLE, UNAUTHENTICATED for another server than
    *agent*, DENIED when we are no broker of it or the process has no identity, NOT_FOUND when there is no such process.
    """
    try:
        async with asyncio.timeout(timeout), _channel(at, agent, await _context(socket, agent)) as channel:
            request = wire.SubscribeToX509SVIDRequest(reference=wire.reference(wire.WorkloadPIDReference(pid=pid)))
            call = Client(channel, wire.DESCRIPTOR).SubscribeToX509SVID(request, metadata=(wire.SECURITY_HEADER,))
            answer = await call.read()
            call.cancel()
    except grpc.aio.AioRpcError as error:
        raise error_of(error, where=str(at)) from None
    except TimeoutError:
        raise RingfenceError(Kind.UNAVAILABLE, f"no answer within {timeout:g} s", where=str(at)) from None
    return list(delivery(answer).svids)


async def _context(socket: str, agent: SpiffeId) -> ssl.SSLContext:
    """TLS that shows our own SVID, and believes the authorities of the agent's trust domain alone."""
    async with aclosing(messages(socket, "FetchX509SVID", workload.X509SVIDRequest())) as answers:
        answer = await anext(answers)
    svid: Any = answer.svids[0]
    own = SpiffeId.parse(svid.spiffe_id)
    ours = own.trust_domain == agent.trust_domain
    roots: bytes = svid.bundle if ours else answer.federated_bundles.get(agent.trust_domain.id, b"")
    if not roots:
        raise RingfenceError(Kind.UNAUTHENTICATED, f"no bundle of {agent.trust_domain} is known here", where=str(agent))
    key = load_der_private_key(svid.x509_svid_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101  # our agent makes no other
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the name that counts is the SPIFFE ID
    context.load_verify_locations(cadata=roots)
    context.set_alpn_protocols(["h2"])
    load_chain(context, HeldSvid.of(split_der(svid.x509_svid), key, own, 0))
    return context


@asynccontextmanager
async def _channel(at: BrokerAddress, agent: SpiffeId, tls: ssl.SSLContext) -> AsyncIterator[grpc.aio.Channel]:
    try:
        if at.path:
            reader, writer = await asyncio.open_unix_connection(at.path, ssl=tls, server_hostname="")
        else:
            reader, writer = await asyncio.open_connection(at.host, at.port, ssl=tls)
    except OSError as error:  # ssl.SSLError is one
        raise RingfenceError(Kind.UNAVAILABLE, f"no connection: {error.strerror or error}", where=str(at)) from error
    try:
        # The agent that is expected, and no other: whoever holds some SVID would see which workloads we ask for.
        found = id_of_verified(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        if found != agent:
            raise RingfenceError(Kind.UNAUTHENTICATED, f"what answers is {found}, not {agent}", where=str(at))
        connection = await Connection.over(reader, writer)
        try:
            yield connection.channel
        finally:
            await connection.close()
    finally:
        writer.transport.abort()
