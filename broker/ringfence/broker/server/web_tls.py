"""TLS for pages that strangers read: no client certificate is asked for, and each handshake gets the newest one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringfence.broker.log import log
from ringfence.certs.errors import Kind, RingfenceError

LOOK_SECONDS = 60.0  # between two looks at certificate files
# Mozilla's "intermediate" (SPIFFE_Federation.md section 5 asks for no less); TLS 1.3 brings its own list.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_Stamp = tuple[tuple[int, int], ...]


def open_to_all() -> ssl.SSLContext:
    """A server context without a certificate yet, TLS 1.2 and later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # a resumed session would outlive a renewed certificate
    context.options |= ssl.OP_NO_TICKET
    return context


def newest(current: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context for a listener that takes the certificate of *current* anew at every handshake."""

    def switch(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current()

    outer = open_to_all()
    outer.sni_callback = switch
    return outer


@dataclass(slots=True)
class CertificateFiles:
    """A certificate chain and its key in PEM files that something else renews."""

    certificate: Path
    key: Path
    _context: ssl.SSLContext | None = None
    _stamp: _Stamp = ()

    async def load(self) -> None:
        """Read both if they have changed; raises INVALID, and then the last good ones stay in use."""
        await asyncio.to_thread(self._load)

    def context(self) -> ssl.SSLContext:
        """What was last read; `load` comes first."""
        if self._context is None:
            raise RingfenceError(Kind.UNAVAILABLE, "no certificate was read yet", where=str(self.certificate))
        return self._context

    async def follow(self, *, interval: float = LOOK_SECONDS) -> None:
        """Look at the files every *interval* seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.load()
            except RingfenceError as error:
                log.error("certificate not renewed", detail=error.detail, where=error.where, hint=error.hint)

    def _load(self) -> None:
        try:
            stamp = tuple((s.st_mtime_ns, s.st_ino) for s in (self.certificate.stat(), self.key.stat()))
            if stamp == self._stamp:
                return
            context = open_to_all()
            # A key behind a passphrase would have OpenSSL ask on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            detail = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else ""
            raise RingfenceError(
                Kind.INVALID,
                f"no certificate with its key: {detail or 'they do not read or do not belong together'}",
                where=f"{self.certificate}, {self.key}",
                hint="Both are PEM: the chain, leaf first, and the key without a passphrase",
            ) from None
        self._context, self._stamp = context, stamp
