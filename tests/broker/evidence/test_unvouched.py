"""Which records say that nobody here knows a peer's issuer; the reasons are Envoy 1.40's, as it wrote them."""

from __future__ import annotations

import pytest

from ringfence.broker.evidence.record import HTTP, TLS
from ringfence.broker.evidence.unvouched import unvouched
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.evidence.records import record

PEER = "spiffe://b.test/ns/a/sa/w"
_WROTE = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_{}:TLS_error_end"
)
NO_ISSUER = _WROTE.format(
    "X509_verify_cert:_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_certificate"
)
NO_BUNDLE = _WROTE.format("no_trust_bundle_store")
EXPIRED = _WROTE.format("X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired")


def refused(reason: str, source: str = PEER, point: str = TLS) -> TrustDomain | None:
    """What a handshake that failed so says."""
    return unvouched(
        record(allowed=False, rule="not-mtls", source=source, point=point, attributes={"tls.failure": reason})
    )


@pytest.mark.parametrize("reason", [NO_ISSUER, NO_BUNDLE])
def test_the_domain_of_a_peer_without_a_known_issuer(reason: str) -> None:
    """Its bundle here is older than its authority, or there is none yet."""
    assert refused(reason) == TrustDomain("b.test")


@pytest.mark.parametrize(
    "reason", ["", EXPIRED, "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER"]
)
def test_other_failures_say_nothing_of_a_bundle(reason: str) -> None:
    """A newer one would not help."""
    assert refused(reason) is None


@pytest.mark.parametrize(
    "source", ["127.0.0.1:5000", "", f"{PEER},spiffe://c.test/x", "https://b.test/", "spiffe://B.test/a", PEER + "\n"]
)
def test_who_has_no_one_spiffe_id_names_no_domain(source: str) -> None:
    """The name is the stranger's own word: what is no SVID counts for nothing."""
    assert refused(NO_ISSUER, source) is None


def test_only_a_listener_speaks_of_handshakes() -> None:
    """The attribute of any other record is not its own."""
    assert refused(NO_ISSUER, point=HTTP) is None
