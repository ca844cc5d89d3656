"""What servers below may ask: an X.509 authority under ours, and that their JWT-SVID keys are published.

The calls are those of SPIRE's server API, so that a SPIRE server may ask them too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from google.protobuf.message import DecodeError

from ringfence.broker import events
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import record, recorded
from ringfence.broker.entry import Entry
from ringfence.broker.registry import Registry
from ringfence.broker.store import ledger
from ringfence.broker.store.engine import Store
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.trust import Trust
from ringfence.certs.certificate import read_certificate, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.intermediate import AuthorityDraft, draft_authority
from ringfence.certs.profile import csr_public_key
from ringfence.certs.shared import PublishedKey, spki_of
from ringfence.certs.slot import X509Authority
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from ringfence.proto.lane import Call, Method
from ringfence.proto.lane.peer import Peer

KIND = "x509-ca"  # in the ledger
_MAX_CSR = 8 << 10  # bytes
_SVID, _BUNDLE = "/spire.api.server.svid.v1.SVID", "/spire.api.server.bundle.v1.Bundle"


@dataclass(frozen=True, slots=True)
class DownstreamApi:
    """Calls of servers whose SVID is of an entry with `downstream`."""

    store: Store
    registry: Registry
    trust: Trust
    clock: Callable[[], datetime]
    audit: AuditLog | None = None

    def methods(self) -> dict[str, Method]:
        """What the lane serves, by path. Messages are loaded when one comes: most servers have nobody below."""
        handlers = {
            f"{_SVID}/NewDownstreamX509CA": self.sign,
            f"{_BUNDLE}/PublishJWTAuthority": self.publish,
            f"{_BUNDLE}/GetBundle": self.bundle,
        }
        return {path: Method(handler, bytes, peer_certificate=True) for path, handler in handlers.items()}

    async def sign(self, call: Call) -> None:
        """An authority for the key of a request. Raises UNAUTHENTICATED, DENIED, INVALID, UNAVAILABLE."""
        wire, asked = await _request(call, "NewDownstreamX509CARequest")
        # 1. Who asks may ask.
        caller, entry = self._authorised(call.peer)
        try:
            # 2. Of the request only the key counts, and that it is held.
            key = csr_public_key(_of_sane_size(asked.csr))
            # 3. Draft: name and profile are fixed, its life is within ours and its entry's.
            issuer = self.trust.authority.current.x509
            now = self.clock()
            life = self._life(entry, asked.preferred_ttl, now)
            draft = draft_authority(self.trust.bundle.trust_domain, key, issuer.certificate, now=now, ttl=life)
        except RingfenceError as error:
            events.refused(KIND, caller, error)
            raise
        # 4. Record, sign, check, record, deliver.
        signed = await self._signed(draft, issuer, caller, entry)
        roots = self.trust.bundle.x509_authorities
        await call.send(wire.NewDownstreamX509CAResponse(ca_cert_chain=(signed, *issuer.chain), x509_authorities=roots))

    async def publish(self, call: Call) -> None:
        """Have a JWT-SVID key in the bundle until its end. Raises UNAUTHENTICATED, DENIED, INVALID, EXHAUSTED."""
        wire, request = await _request(call, "PublishJWTAuthorityRequest")
        asked = request.jwt_authority
        # 1. Who asks may ask.
        caller, _ = self._authorised(call.peer)
        # 2. It is a key, and nobody else's; on disk before anyone hears of it.
        key = PublishedKey.read(asked.key_id, asked.public_key, asked.expires_at, str(caller))
        await self.trust.adopt(key)
        # 3. Record, and say what is published now.
        detail = {"kid": key.kid, "until": int(key.not_after.timestamp())}
        await record(self.audit, Event("downstream.publish", str(caller), detail=detail, actor=str(caller)))
        await call.send(wire.PublishJWTAuthorityResponse(jwt_authorities=_keys(wire, self.trust)))

    async def bundle(self, call: Call) -> None:
        """The bundle of the trust domain, with what of it is tainted. Raises UNAUTHENTICATED, DENIED."""
        wire, _ = await _request(call, "GetBundleRequest")
        self._authorised(call.peer)
        await call.send(_bundle_answer(wire, self.trust))

    def _authorised(self, peer: Peer) -> tuple[SpiffeId, Entry]:
        # 1. A certificate was given and its key used: TLS has seen to that.
        if peer.certificate is None:
            raise RingfenceError(Kind.UNAUTHENTICATED, "a server below shows its SVID")
        # 2. It is an SVID of ours, now: the bundle may have changed since the handshake.
        shown = self.trust.path_of(peer.certificate)
        caller = verify_peer(shown, self.trust.bundle, now=self.clock())
        # 3. An entry that has not ended says that its holder may be a server below.
        entries = (entry for entry in self.registry.every() if entry.downstream and entry.spiffe_id == caller)
        now = self.clock().timestamp()
        entry = next((entry for entry in entries if not entry.template and not entry.has_ended(now)), None)
        if entry is None:
            raise RingfenceError(
                Kind.DENIED, f"{caller} is no server below", hint="Give its entry --downstream, and no path template"
            )
        return caller, entry

    def _life(self, entry: Entry, wanted: int, now: datetime) -> timedelta:
        longest = self.trust.authority.ca_ttl
        life = min(timedelta(seconds=wanted), longest) if wanted > 0 else longest
        return min(life, datetime.fromtimestamp(entry.expires_at, UTC) - now) if entry.expires_at else life

    async def _signed(self, draft: AuthorityDraft, issuer: X509Authority, caller: SpiffeId, entry: Entry) -> bytes:
        serial, ends = f"{draft.serial:032x}", int(draft.not_after.timestamp())
        # 1. The intent is durable before anything is signed.
        trace = Issuance(serial, KIND, str(caller), entry.id, str(caller), issuer.id, ends)
        await self.store.run(ledger.intend, [trace], int(self.clock().timestamp()))
        # 2. Sign; what was signed is read back and compared with its draft.
        signed = issuer.sign_authority(draft)
        # 3. What was signed is durable before it is delivered.
        detail = {"serial": serial, "authority": issuer.id, "until": ends, "entry": entry.id}
        event = Event("downstream.sign", str(caller), detail=detail, actor=str(caller))
        await recorded(self.store, self.audit, lambda one: ledger.issued(one, [serial]), lambda _: [event])
        events.issued(KIND, str(caller), [(serial, str(caller), entry.id)])
        return signed


def _of_sane_size(csr: bytes) -> bytes:
    if len(csr) > _MAX_CSR:
        raise RingfenceError(Kind.INVALID, f"a certificate signing request has at most {_MAX_CSR} bytes")
    return csr


async def _request(call: Call, name: str) -> tuple[Any, Any]:
    """The module of the messages, and the request, which is the one of that name; raises INVALID."""
    raw = await call.receive()
    wire = await asyncio.to_thread(import_module, "ringfence.proto.spire")
    try:
        return wire, getattr(wire, name).FromString(raw or b"")
    except DecodeError:
        raise RingfenceError(Kind.INVALID, "the request cannot be read") from None


def _bundle_answer(wire: Any, trust: Trust) -> Any:
    bundle, tainted = trust.bundle, trust.authority.x509.tainted
    roots = [
        wire.X509Certificate(asn1=der, tainted=subject_key_id(read_certificate(der)) in tainted)
        for der in bundle.x509_authorities
    ]
    return wire.TrustDomainBundle(
        trust_domain=bundle.trust_domain.name,
        x509_authorities=roots,
        jwt_authorities=_keys(wire, trust),
        refresh_hint=int(bundle.refresh_hint.total_seconds()),
        sequence_number=bundle.sequence,
    )


def _keys(wire: Any, trust: Trust) -> list[Any]:
    """Every JWT-SVID key; of one that another server published above, its end is not known here."""
    authority = trust.authority
    ends = {one.kid: int(one.not_after.timestamp()) for one in authority.shared.below}
    ends |= {one.kid: int(one.not_after.timestamp()) for one in authority.jwt.every()}
    tainted = authority.jwt.tainted
    return [
        wire.JWTKey(key_id=kid, public_key=spki_of(key), expires_at=ends.get(kid, 0), tainted=kid in tainted)
        for kid, key in trust.bundle.jwt_authorities.items()
    ]
