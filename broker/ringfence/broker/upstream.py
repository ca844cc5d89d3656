"""An upstream authority in files; read again whenever it signs, so that an operator can replace them."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.upstream import Minted, SigningCa


@dataclass(frozen=True, slots=True)
class DiskUpstream:
    """Where the signing certificate (with those above it), its key and the roots are, as PEM."""

    certificate: Path
    key: Path
    roots: Path | None = None

    @property
    def shares(self) -> bool:
        """No: it knows nothing of trust domains."""
        return False

    def publish(self, kid: str, key: ec.EllipticCurvePublicKey, not_after: datetime) -> None:
        """Nothing: JWT-SVID keys have nobody above them."""

    def mint(self, trust_domain: TrustDomain, request: bytes, *, now: datetime, ttl: timedelta) -> Minted:
        """An intermediate signed by what the files hold now; raises INVALID, UNAVAILABLE."""
        try:
            if stat.S_IMODE(self.key.stat().st_mode) & 0o077:
                raise RingfenceError(
                    Kind.INVALID, "others may read or change the upstream key", where=str(self.key), hint="chmod 600 it"
                )
            roots = self.roots.read_bytes() if self.roots is not None else b""
            authority = SigningCa.parse(self.certificate.read_bytes(), self.key.read_bytes(), roots)
        except OSError as error:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"the upstream authority cannot be read: {error.strerror}",
                where=str(error.filename or self.certificate),
                hint="Check --upstream-cert, --upstream-key and --upstream-roots",
            ) from None
        return authority.mint(trust_domain, request, now=now, ttl=ttl)


def upstream_of(certificate: Path | None, key: Path | None, roots: Path | None) -> DiskUpstream | None:
    """The upstream that the options name, or none; raises INVALID for options that do not go together."""
    if certificate is None and key is None and roots is None:
        return None
    if certificate is None or key is None:
        raise RingfenceError(
            Kind.INVALID, "--upstream-cert and --upstream-key come together", hint="See docs/upstream-disk.md"
        )
    return DiskUpstream(certificate, key, roots)
