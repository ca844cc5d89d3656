"""Who makes an admin call: by the kernel, an X.509-SVID or an OIDC token; numbered steps that refuse any doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ringfence.broker.access.rights import Subject
from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from ringfence.proto.lane import Call
from ringfence.proto.lane.peer import Peer

if TYPE_CHECKING:
    from ringfence.broker.access.tokens import TokenIssuer

_HEADER, _SCHEME = "authorization", "bearer "


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Knows callers; `issuers` by URL."""

    trust: Trust
    issuers: Mapping[str, TokenIssuer]
    clock: Callable[[], datetime]

    async def subject_of(self, call: Call) -> Subject:
        """Who calls; raises UNAUTHENTICATED, or UNAVAILABLE when an issuer's keys cannot be had."""
        peer = call.peer
        # 1. On the Unix socket the kernel says who connected; nothing that a caller sends counts beside it.
        if peer.uid is not None:
            return Subject(f"uid:{peer.uid} pid:{peer.pid}", uid=peer.uid, gid=peer.gid)
        token = _token(call.metadata)
        # 2. Over TLS exactly one proof: with two it would be left open whose call it is.
        if token is not None and peer.certificate is not None:
            raise _nobody("there is a certificate and a token", "Show one of them")
        # 3. An X.509-SVID of ours, which is one now: connections outlive certificates and authorities.
        if peer.certificate is not None:
            spiffe_id = self._svid(peer)
            return Subject(str(spiffe_id), spiffe_id=spiffe_id)
        # 4. A token of an issuer that was configured, for us.
        if token is not None:
            return await self._bearer(token)
        # 5. Anyone else is nobody.
        raise _nobody("no identity was shown", "Show an X.509-SVID, or a token as metadata `authorization: Bearer`")

    def _svid(self, peer: Peer) -> SpiffeId:
        return verify_peer(self.trust.path_of(peer.certificate or b""), self.trust.bundle, now=self.clock())

    async def _bearer(self, token: str) -> Subject:
        from ringfence.broker.access.tokens import unverified_issuer  # most servers take no tokens

        # 1. The issuer, read without trust, only chooses by whose keys the token is judged.
        issuer = self.issuers.get(unverified_issuer(token))
        if issuer is None:
            raise _nobody("the token is of an issuer that is not configured here", "See [[access.issuer]]")
        # 2. From here on the claims are true.
        claims = await issuer.claims_of(token, self.clock())
        [sub] = claims["sub"]
        return Subject(f"oidc:{sub}@{issuer.url}", issuer=issuer.url, claims=claims)


def _token(metadata: Mapping[str, tuple[str, ...]]) -> str | None:
    values = metadata.get(_HEADER, ())
    if not values:
        return None
    if len(values) > 1 or not values[0].lower().startswith(_SCHEME):
        raise _nobody("the metadata `authorization` is no single bearer token", "Send `Bearer TOKEN` once")
    return values[0][len(_SCHEME) :].strip()


def _nobody(detail: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail, hint=hint)
