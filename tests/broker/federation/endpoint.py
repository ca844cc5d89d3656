"""A bundle endpoint that answers whatever a test wants, by a web certificate or by an SVID."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

THEIRS = TrustDomain("b.test")
ENDPOINT = SpiffeId(THEIRS, "/ringfence/server")


def authority(trust_domain: TrustDomain = THEIRS) -> Authority:
    """Of another trust domain."""
    return Authority.create(trust_domain, MemoryKeys(), now=datetime.now(UTC))


def by_svid(folder: Path, issuer: Authority, spiffe_id: SpiffeId = ENDPOINT) -> ssl.SSLContext:
    """TLS with an SVID of *issuer*."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = issuer.issue_x509(spiffe_id, key.public_key(), now=datetime.now(UTC), ttl=timedelta(hours=1))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
    path = folder / "endpoint.pem"
    path.write_bytes(pem)
    return by_files(path, path)


def by_files(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS with what is in the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def page(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def serving(answers: Sequence[bytes], tls: ssl.SSLContext) -> AsyncIterator[tuple[str, list[str]]]:
    """The URL of an endpoint that gives *answers* in turn, the last for ever, and the request lines it got."""
    asked: list[str] = []
    open_now: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now[writer] = asyncio.current_task()
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.decode().partition("\r\n")[0])
            writer.write(answers[min(len(asked), len(answers)) - 1])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", asked
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        await asyncio.gather(*filter(None, open_now.values()))
        await asyncio.gather(*(writer.wait_closed() for writer in open_now), return_exceptions=True)
