"""Which refused handshakes say that a bundle here may be too old: those of peers whose issuer nobody here knows."""

from __future__ import annotations

from ringfence.broker.evidence.record import TLS, Record
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

# As Envoy 1.40's SPIFFE validator has it in %DOWNSTREAM_TRANSPORT_FAILURE_REASON%, spaces as underscores: the bundle of
# the peer's trust domain has no such issuer, or there is no bundle of it at all.
_REASONS = ("unable_to_get_local_issuer_certificate", "no_trust_bundle_store")


def unvouched(record: Record) -> TrustDomain | None:
    """The trust domain for which nobody vouched, of a peer that was refused for that; None for every other record.

    The name is what the peer's certificate claims, and nobody verified it.
    """
    reason = record.attributes.get("tls.failure", "")
    if record.point != TLS or not any(known in reason for known in _REASONS):
        return None
    try:
        return SpiffeId.parse(record.source).trust_domain  # two names are no SVID, and Envoy writes both
    except RingfenceError:
        return None
