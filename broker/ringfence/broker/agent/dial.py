"""How the agent reaches the server: mutual TLS that knows the server by its SPIFFE ID, under a plain grpc.aio channel.

grpcio checks a server by host name only, so TLS is made here: the channel speaks to a socket of our own in this
process, whose other end is a TLS connection that counts only once the server's SVID was verified.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import grpc.aio

from ringfence.broker.address import Address
from ringfence.broker.agent.svids import HeldSvid
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId, TrustDomain
from ringfence.certs.svid import spiffe_id_of

SERVER_PATH = "/ringfence/server"
_CHUNK = 1 << 16
_PATIENCE, _HASTE = 10.0, 3.0  # seconds to connect and shake hands
# So that a server which vanished without a word is missed within 40 s, when there is another one to go to.
_PINGS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),
    ("grpc.default_authority", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Trust:
    """How the server is to be known: by a bundle, or (bundle None, once, when told so) by nothing but its name."""

    trust_domain: TrustDomain
    bundle: SpiffeBundle | None
    path: str = SERVER_PATH

    @property
    def server(self) -> SpiffeId:
        """The only identity that is taken for the server."""
        return SpiffeId(self.trust_domain, self.path)


@dataclass(slots=True)
class Dialler:
    """Makes channels to the server."""

    address: Address
    trust: Callable[[], Trust]
    svid: Callable[[], HeldSvid | None]
    leaf: bytes = b""  # of the last server that was accepted
    hasty: bool = False  # there are other servers: this one is not waited for as long

    async def dial(self) -> Connection:
        """One channel on one TLS connection of its own; raises UNAVAILABLE or UNAUTHENTICATED."""
        reader, writer = await self._connect()
        return await Connection.over(reader, writer, _PINGS if self.hasty else ())

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        trust = self.trust()
        context = await asyncio.to_thread(_context, trust, self.svid())
        try:
            async with asyncio.timeout(_HASTE if self.hasty else _PATIENCE):
                reader, writer = await asyncio.open_connection(
                    self.address.host, self.address.port, ssl=context, server_hostname=SERVER_NAME, limit=_CHUNK
                )
        except ssl.SSLCertVerificationError as error:
            raise self._stranger(f"its certificate does not verify: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise RingfenceError(
                Kind.UNAUTHENTICATED, f"no TLS with the server: {error.reason or error}", where=str(self.address)
            ) from error
        except OSError as error:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"the server can't be reached: {_reason(error)}",
                where=str(self.address),
                hint="Check that `ringfence server run` listens there",
            ) from error
        try:
            self.leaf = _check_server(writer, trust)
        except RingfenceError as error:
            writer.transport.abort()
            raise self._stranger(error.detail) from error
        return reader, writer

    def _stranger(self, detail: str) -> RingfenceError:
        return RingfenceError(
            Kind.UNAUTHENTICATED,
            f"what answers is not the server of {self.trust().trust_domain}: {detail}",
            where=str(self.address),
            hint="Check --trust-domain, and that --bootstrap-bundle is what `ringfence bundle show` prints there",
        )


class Connection:
    """A grpc.aio channel and the TLS connection that is all it can reach."""

    def __init__(self, channel: grpc.aio.Channel, pump: asyncio.Task[None]) -> None:
        self.channel = channel
        self._pump = pump

    @classmethod
    async def over(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: tuple[tuple[str, int], ...] = ()
    ) -> Connection:
        """A channel whose only connection is the pair of streams."""
        accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        accepted = asyncio.get_running_loop().create_future()

        async def accept(inner_reader: asyncio.StreamReader, inner_writer: asyncio.StreamWriter) -> None:
            # Only this process: the name is random, and the kernel says who connected.
            if accepted.done() or _peer_pid(inner_writer) != os.getpid():
                inner_writer.close()
            else:
                accepted.set_result((inner_reader, inner_writer))

        name = f"ringfence-{secrets.token_hex(16)}"
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        channel = grpc.aio.insecure_channel(f"unix-abstract:{name}", options=(*_OPTIONS, *options))
        try:
            with inner:
                inner.bind(f"\0{name}")
                listener = await asyncio.start_unix_server(accept, sock=inner, limit=_CHUNK)
                try:
                    channel.get_state(try_to_connect=True)
                    async with asyncio.timeout(_PATIENCE):
                        inside = await accepted
                finally:
                    listener.close()
        except BaseException as error:  # who stops in between leaves nothing half made behind
            writer.transport.abort()
            if accepted.done() and not accepted.cancelled():
                accepted.result()[1].transport.abort()
            await channel.close(None)
            if isinstance(error, TimeoutError):
                raise RingfenceError(Kind.UNAVAILABLE, "the agent's own channel did not open") from None
            raise
        return cls(channel, asyncio.create_task(_pump(reader, writer, *inside)))

    async def close(self) -> None:
        """End the channel, and with it the TLS connection."""
        await self.channel.close(None)
        self._pump.cancel()
        await asyncio.wait((self._pump,))  # does not take an end of our own for that of the pump


def _reason(error: OSError) -> str:
    # TimeoutError, which asyncio.timeout raises, is an OSError without words.
    return error.strerror or "no answer"


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until either side ends; then both have ended."""
    copies = (
        asyncio.create_task(_copy(reader, inner_writer)),
        asyncio.create_task(_copy(inner_reader, writer)),
    )
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Both first: whoever closes us may cancel us while we wait for the copies.
        writer.transport.abort()
        inner_writer.transport.abort()
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _context(trust: Trust, svid: HeldSvid | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the name that counts is the SPIFFE ID, see _check_server
    context.set_alpn_protocols(["h2"])
    if trust.bundle is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=trust.bundle.x509_der())
    if svid is not None:
        load_chain(context, svid)
    return context


def load_chain(context: ssl.SSLContext, svid: HeldSvid) -> None:
    """The ssl module takes keys from files only: one in memory, which no other process can open by name."""
    pem = b"".join(_pem("CERTIFICATE", der) for der in svid.chain) + _pem("PRIVATE KEY", svid.key)
    file = os.memfd_create("ringfence-svid", os.MFD_CLOEXEC)
    try:
        os.write(file, pem)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def _pem(label: str, der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", label).encode()


def _check_server(writer: asyncio.StreamWriter, trust: Trust) -> bytes:
    """The leaf of the server that was reached; raises UNAUTHENTICATED unless it is the server."""
    # 1. It showed a certificate, in a handshake that proved its key.
    leaf: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if not leaf:
        raise RingfenceError(Kind.UNAUTHENTICATED, "it has no certificate")
    # TLS itself verified the path to a root of the bundle, unless there is no bundle yet.
    # 2. The one SPIFFE ID in it is the server's: a workload of the same trust domain is not the server.
    found = spiffe_id_of(leaf)
    if found != trust.server:
        raise RingfenceError(Kind.UNAUTHENTICATED, f"it is {found}")
    return leaf
