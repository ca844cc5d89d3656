"""Fetches a bundle from its endpoint (SPIFFE_Federation.md section 5.2): TLS as the profile has it, one GET."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from ringfence.broker.federation.relation import Profile, Relation, check_url
from ringfence.certs.bundle import MAX_BUNDLE_BYTES, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.svid import id_of_verified

PATIENCE = 15.0  # seconds for all of it
_REDIRECTS = 3
_CHUNK = 64 * 1024
_OK, _MOVED = 200, frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str
    body: bytes


async def fetch(relation: Relation, endpoint_bundle: SpiffeBundle | None, *, patience: float = PATIENCE) -> bytes:
    """The bundle's text, from an endpoint that proved itself; raises UNAVAILABLE, TIMEOUT or UNAUTHENTICATED.

    *endpoint_bundle* is the newest bundle of the trust domain that the endpoint's SPIFFE ID is of (https_spiffe).
    """
    tls = await asyncio.to_thread(_context, relation, endpoint_bundle)
    url = relation.url
    try:
        async with asyncio.timeout(patience):
            answer = await _get(urlsplit(url), tls, relation)
            for _ in range(_REDIRECTS):
                if answer.status not in _MOVED:
                    break
                # A redirect is followed this once and not remembered; its target has to prove the same.
                url = check_url(urljoin(url, answer.location))
                answer = await _get(urlsplit(url), tls, relation)
    except TimeoutError:
        raise RingfenceError(Kind.TIMEOUT, f"no whole answer within {patience:g} s", where=url) from None
    except ssl.SSLCertVerificationError as error:
        raise RingfenceError(
            Kind.UNAUTHENTICATED, f"the endpoint's certificate does not verify: {error.verify_message}", where=url
        ) from None
    except (OSError, UnicodeError, h11.ProtocolError) as error:
        detail = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise RingfenceError(Kind.UNAVAILABLE, f"the endpoint cannot be asked: {detail}", where=url) from None
    if answer.status != _OK:
        raise RingfenceError(Kind.UNAVAILABLE, f"the endpoint answers with HTTP status {answer.status}", where=url)
    return answer.body


def _context(relation: Relation, endpoint_bundle: SpiffeBundle | None) -> ssl.SSLContext:
    if relation.profile is Profile.WEB:
        context = ssl.create_default_context()  # the system's roots; host names are checked (section 5.2.1)
    else:
        # 1. Only the endpoint's own trust domain vouches for it.
        if endpoint_bundle is None or not endpoint_bundle.x509_authorities:
            raise RingfenceError(
                Kind.UNAUTHENTICATED,
                "no authority of the endpoint's trust domain is known",
                where=relation.url,
                hint="Set its bundle by hand: ringfence bundle set",
            )
        # 2. The name that counts is the SPIFFE ID: see _check_endpoint.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority need not be self-signed
        context.load_verify_locations(cadata=endpoint_bundle.x509_der())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _get(url: SplitResult, tls: ssl.SSLContext, relation: Relation) -> _Answer:
    host = url.hostname or ""
    reader, writer = await asyncio.open_connection(host, url.port or 443, ssl=tls, server_hostname=host)
    try:
        _check_endpoint(writer, relation)
        connection = h11.Connection(h11.CLIENT)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = [("host", url.netloc), ("accept", "application/json"), ("connection", "close")]
        for part in (h11.Request(method="GET", target=target, headers=headers), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        return await _answer(connection, reader)
    finally:
        writer.transport.abort()


def _check_endpoint(writer: asyncio.StreamWriter, relation: Relation) -> None:
    if relation.profile is Profile.WEB:
        return
    # 1. TLS verified a path to the endpoint's trust domain, and that the peer holds the key.
    leaf = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    # 2. It is an X.509-SVID with exactly the ID that the operator gave (section 5.2.2.4).
    found = id_of_verified(leaf)
    if found != relation.endpoint_id:
        raise RingfenceError(
            Kind.UNAUTHENTICATED, f"the endpoint is {found}, not {relation.endpoint_id}", where=relation.url
        )


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> _Answer:
    status, location, body = 0, "", bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
            location = dict(event.headers).get(b"location", b"").decode("latin-1")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BUNDLE_BYTES:
                raise RingfenceError(Kind.INVALID, f"the bundle is longer than {MAX_BUNDLE_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return _Answer(status, location, bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionError("it closed the connection early")
