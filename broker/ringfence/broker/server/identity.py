"""The server's own SVID and the TLS context made from it; the key exists in memory only and is new with every SVID."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.broker.issue import Issuer
from ringfence.broker.server.endpoint_svid import EndpointSvid, Shown
from ringfence.broker.trust import Trust
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.rotation import renew_at
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId
from ringfence.certs.svid import parse_svid

SERVER_PATH = "/ringfence/server"


class ServerIdentity:
    """`context()` gives the TLS context of the present SVID and bundle, one and the same until either changes."""

    def __init__(
        self, trust: Trust, issuer: Issuer, host: str, *, clock: Callable[[], datetime], path: str = SERVER_PATH
    ) -> None:
        self._trust = trust
        self._issuer = issuer
        self._clock = clock
        self._path = path
        self._dns, self._ips = _names(host) if path == SERVER_PATH else ((), ())
        self._pem = b""
        self._renew_at: datetime | None = None
        self._made_for = (-1, b"")  # bundle sequence and SVID of the cached context
        self._context: ssl.SSLContext | None = None
        self._endpoint = EndpointSvid(trust, _open_context, clock)

    @property
    def spiffe_id(self) -> SpiffeId:
        """`/ringfence/server` of the trust domain, or the name that others know a server by."""
        return SpiffeId(self._trust.bundle.trust_domain, self._path)

    def due(self) -> bool:
        """Whether the SVID has passed its half-life."""
        return self._renew_at is None or self._clock() >= self._renew_at

    async def renew(self) -> None:
        """Get a new SVID with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        chain = await self._issuer.own_svid(
            self.spiffe_id, key.public_key(), dns_names=self._dns, ip_addresses=self._ips
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for der in chain:
            pem += x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        svid = parse_svid(chain)
        self._renew_at = renew_at(svid.not_before, svid.not_after, 0)
        self._pem = pem
        issuer = issuer_key_id(read_certificate(chain[0]))
        self._endpoint.offer(Shown(pem, issuer, svid.not_before, svid.not_after))

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 for one more connection: our SVID, and client certificates checked when they are given."""
        wanted = (self._trust.bundle.sequence, self._pem)
        if self._context is None or wanted != self._made_for:
            self._context = _server_context(self._pem, self._trust.bundle.x509_pem().decode())
            self._made_for = wanted
        return self._context

    def open_context(self) -> ssl.SSLContext:
        """TLS that shows an SVID of ours and asks for no certificate: for the bundle endpoint."""
        return self._endpoint.context()


def _server_context(pem: bytes, roots: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL  # methods demand it one by one
    context.load_verify_locations(cadata=roots)
    context.set_alpn_protocols(["h2"])
    context.num_tickets = 0  # a resumed session would outlive a rotated authority
    _load_chain(context, pem)
    return context


def _open_context(pem: bytes) -> ssl.SSLContext:
    from ringfence.broker.server.web_tls import open_to_all  # most servers have no page for strangers

    context = open_to_all()
    _load_chain(context, pem)
    return context


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    # The ssl module reads keys from files only; this one is memory that no path names.
    handle = os.memfd_create("svid", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _names(host: str) -> tuple[tuple[str, ...], tuple[IPv4Address | IPv6Address, ...]]:
    names = [SERVER_NAME, "localhost"]
    try:
        address = ip_address(host)
    except ValueError:
        return tuple(dict.fromkeys([*names, host.lower()])), ()
    return tuple(names), () if address.is_unspecified else (address,)
