"""Tests of TCP and TLS: client certificates are optional at the handshake, contexts change from one to the next."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import ssl
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence.proto.lane import Call, Connection, Lane, Limits, Method, Peer
from tests.proto.lane import raw
from tests.proto.lane.handlers import methods, upper

NOW = dt.datetime.now(dt.UTC)


class Issuer:
    """A root that issues leaves for localhost."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._folder = folder
        self.root = self._build(self._name, self._key.public_key(), ca=True)
        self.pem = self.root.public_bytes(serialization.Encoding.PEM)

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(NOW - dt.timedelta(minutes=1))
        builder = builder.not_valid_after(NOW + dt.timedelta(hours=12))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def leaf(self, name: str) -> tuple[bytes, bytes, bytes]:
        """A key and its certificate, PEM, and the certificate as DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(), ca=False
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            pem,
            certificate.public_bytes(serialization.Encoding.PEM),
            certificate.public_bytes(serialization.Encoding.DER),
        )

    def context(self) -> ssl.SSLContext:
        """What a server of this issuer shows, asking for a client certificate without insisting."""
        key, certificate, _ = self.leaf("server")
        path = self._folder / "server.pem"
        path.write_bytes(key + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=self.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """The root that everybody in the test trusts."""
    return Issuer("root", tmp_path)


@pytest.fixture
async def contexts(issuer: Issuer) -> list[ssl.SSLContext]:
    """What the lane takes the next connection's context from: its last item."""
    return [await asyncio.to_thread(issuer.context)]


@pytest.fixture
async def port(contexts: list[ssl.SSLContext]) -> AsyncIterator[int]:
    """A TLS lane; `/t/Secret` demands a certificate and answers with it."""

    async def secret(call: Call) -> None:
        await call.send(call.peer.certificate or b"")

    lane = Lane(methods(Secret=Method(secret, bytes, peer_certificate=True)), limits=Limits(hello_seconds=5))
    yield await lane.listen_tcp("127.0.0.1", 0, lambda: contexts[-1])
    await lane.close()


def dial(at: int | str, root: bytes, key: bytes | None = None, chain: bytes | None = None) -> grpc.aio.Channel:
    """A channel of its own connection, to a port or another target, which calls the server by the name localhost."""
    return grpc.aio.secure_channel(
        at if isinstance(at, str) else f"127.0.0.1:{at}",
        grpc.ssl_channel_credentials(root, key, chain),
        options=[("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)],
    )


async def test_client_certificate_is_optional(port: int, issuer: Issuer) -> None:
    """Without a certificate open methods work, and the one that demands it answers UNAUTHENTICATED."""
    async with dial(port, issuer.pem) as channel:
        assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t/Secret")(b"")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_client_certificate_reaches_the_handler(port: int, issuer: Issuer) -> None:
    """The handler sees the very leaf that the client proved to hold, as DER."""
    key, pem, der = issuer.leaf("client")
    async with dial(port, issuer.pem, key, pem) as channel:
        assert await channel.unary_unary("/t/Secret")(b"") == der


async def test_foreign_client_certificate_is_refused(port: int, issuer: Issuer, tmp_path: Path) -> None:
    """A certificate of another root fails the handshake; it is not taken for none."""
    key, pem, _ = Issuer("other", tmp_path).leaf("client")
    async with dial(port, issuer.pem, key, pem) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t/Upper")(b"x")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_next_connection_gets_the_next_context(
    port: int, issuer: Issuer, contexts: list[ssl.SSLContext], tmp_path: Path
) -> None:
    """After a rotation new connections see the new authority, and open ones go on."""
    new = Issuer("new root", tmp_path)
    async with dial(port, issuer.pem) as old_channel, dial(port, new.pem) as new_channel:
        assert await old_channel.unary_unary("/t/Upper")(b"x") == b"X"
        contexts.append(await asyncio.to_thread(new.context))
        assert await new_channel.unary_unary("/t/Upper")(b"x") == b"X"
        assert await old_channel.unary_unary("/t/Upper")(b"x") == b"X"


async def test_client_without_h2_is_left(port: int, issuer: Issuer) -> None:
    """A TLS client that does not offer h2 is disconnected (RFC 9113 section 3.2)."""
    context = ssl.create_default_context(cadata=issuer.pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.transport.abort()


async def test_failed_handshakes_harm_nobody(port: int, issuer: Issuer) -> None:
    """Plain text on the TLS port, or a client that hangs up, leaves the lane as it was."""
    for nonsense in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(nonsense)
        writer.write_eof()
        await reader.read()
        writer.close()
    async with dial(port, issuer.pem) as channel:
        assert await channel.unary_unary("/t/Upper")(b"x") == b"X"


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02", b"\x16\x03\x01\x40\x00" + bytes(100)])
async def test_a_handshake_that_is_begun_and_not_finished(
    issuer: Issuer, contexts: list[ssl.SSLContext], said: bytes
) -> None:
    """Half-open TLS takes a place for as long as a handshake may take, and others are served meanwhile."""
    lane = Lane(methods(), limits=Limits(hello_seconds=0.3, connections=4))
    at = await lane.listen_tcp("127.0.0.1", 0, lambda: contexts[-1])
    halves = [await asyncio.open_connection("127.0.0.1", at) for _ in range(3)]
    for _, writer in halves:
        writer.write(said)
    async with dial(at, issuer.pem) as channel:
        assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
    async with asyncio.timeout(30):
        for reader, writer in halves:
            await reader.read()
            writer.close()
    async with dial(at, issuer.pem) as channel:
        assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
    assert not lane._listeners[0]._handshakes
    await lane.close()


async def test_a_stranger_that_only_sits_there_is_let_go(issuer: Issuer, contexts: list[ssl.SSLContext]) -> None:
    """Without a certificate and without a call a connection keeps its place for a minute, with one for an hour."""
    lane = Lane(methods())
    at = await lane.listen_tcp("127.0.0.1", 0, lambda: contexts[-1])
    key, pem, _ = issuer.leaf("client")
    async with dial(at, issuer.pem) as stranger, dial(at, issuer.pem, key, pem) as known:
        for channel in (stranger, known):
            assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
        assert len(lane.connections) == 2
        for connection in lane.connections:
            connection.watch.heard += 61  # no ping is due
            connection.tick(connection.watch.busy + 61)
        assert [c.peer.certificate is None for c in lane.connections if c.outflow.closing_since is not None] == [True]
    await lane.close()


async def test_tls_on_a_unix_socket(issuer: Issuer, contexts: list[ssl.SSLContext], tmp_path: Path) -> None:
    """The handler sees what TLS proved, the whole chain that was sent with it, and what the kernel says beside it."""
    seen: list[Peer] = []

    async def who(call: Call) -> None:
        seen.append(call.peer)
        await upper(call)

    lane = Lane({"/t/Who": Method(who, bytes, peer_certificate=True)})
    await lane.listen_unix(tmp_path / "tls.sock", tls=lambda: contexts[-1])
    key, pem, der = issuer.leaf("client")
    async with dial(f"unix:{tmp_path / 'tls.sock'}", issuer.pem, key, pem + issuer.pem) as channel:
        assert await channel.unary_unary("/t/Who")(b"x") == b"X"
    assert seen[0].certificate == der
    assert seen[0].chain == (der, issuer.root.public_bytes(serialization.Encoding.DER))
    assert seen[0].is_local
    assert (seen[0].pid, seen[0].uid) == (os.getpid(), os.geteuid())
    assert seen[0].pidfd is not None
    await lane.close()


async def test_a_client_that_says_goodbye_by_tls_is_answered(port: int, issuer: Issuer) -> None:
    """It keeps its socket open until it has heard ours, as asyncio's own transports do."""
    context = ssl.create_default_context(cadata=issuer.pem.decode())
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    writer.write(raw.PREFACE + raw.settings())
    await reader.readexactly(9)  # it is in
    writer.close()
    async with asyncio.timeout(20):  # asyncio itself gives up after 30
        await writer.wait_closed()


async def test_a_tls_connection_that_ended_leaves_nothing_for_the_garbage_collector(
    issuer: Issuer, contexts: list[ssl.SSLContext]
) -> None:
    """Its handshake, which holds all of TLS, goes with it."""
    gone = asyncio.Event()
    held: list[weakref.ref[object]] = []

    def watch(connection: Connection) -> None:
        tls = connection.outflow._transport.get_extra_info("ssl_object")  # type: ignore[union-attr]
        held.append(weakref.ref(tls, lambda _: gone.set()))

    context = ssl.create_default_context(cadata=issuer.pem.decode())
    context.set_alpn_protocols(["h2"])
    lane = Lane(methods(), on_connect=watch)
    at = await lane.listen_tcp("127.0.0.1", 0, lambda: contexts[-1])
    gc.disable()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", at, ssl=context, server_hostname="localhost")
        writer.write(raw.PREFACE + raw.settings())
        await reader.readexactly(9)  # it is in
        writer.close()
        await asyncio.wait_for(gone.wait(), 30)
    finally:
        gc.enable()
        await lane.close()


async def test_no_certificate_is_an_empty_chain(issuer: Issuer, contexts: list[ssl.SSLContext]) -> None:
    """A client that gave none has neither certificate nor chain, and by TCP nobody says whose process it is."""
    seen: list[Peer] = []

    async def who(call: Call) -> None:
        seen.append(call.peer)
        await upper(call)

    lane = Lane({"/t/Who": Method(who, bytes)})
    port = await lane.listen_tcp("127.0.0.1", 0, lambda: contexts[-1])
    async with dial(port, issuer.pem) as channel:
        assert await channel.unary_unary("/t/Who")(b"x") == b"X"
    assert (seen[0].certificate, seen[0].chain, seen[0].is_local) == (None, (), False)
    await lane.close()


async def test_plain_tcp() -> None:
    """Without a context the lane serves plain HTTP/2, and the peer is known by its address."""
    seen: list[str] = []

    async def address(call: Call) -> None:
        seen.append(call.peer.address)
        await upper(call)

    lane = Lane({"/t/Address": Method(address, bytes)})
    port = await lane.listen_tcp("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary("/t/Address")(b"x") == b"X"
    assert seen[0].startswith("127.0.0.1:")
    await lane.close()
