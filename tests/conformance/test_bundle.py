"""SPIFFE_Trust_Domain_and_Bundle.md: what we publish, as the standard and its readers want it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from spiffe import JwtBundle, X509Bundle
from spiffe import TrustDomain as TheirTrustDomain

from ringfence.certs.authority import Authority
from ringfence.certs.bundle_map import parse_map, write_map
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain

_TD, _NOW = TrustDomain("example.org"), datetime.now(UTC)
_AUTHORITY = Authority.create(_TD, MemoryKeys(), now=_NOW)
_AUTHORITY.prepare(_NOW)
_DOCUMENT: dict[str, Any] = json.loads(_AUTHORITY.bundle(7).to_json())


def test_1_7_2_sequence_and_hint_are_integers() -> None:
    """Sections 4.1.1 and 4.1.2."""
    assert _DOCUMENT.keys() == {"keys", "spiffe_refresh_hint", "spiffe_sequence"}
    assert (_DOCUMENT["spiffe_sequence"], _DOCUMENT["spiffe_refresh_hint"]) == (7, 300)


def test_1_2_12_x509_keys_have_one_certificate_and_no_kid() -> None:
    """X509-SVID 6.1: standard base64 of one self-signed root whose key the JWK's parameters repeat."""
    keys = [jwk for jwk in _DOCUMENT["keys"] if jwk["use"] == "x509-svid"]
    assert len(keys) == 2
    for jwk in keys:
        assert jwk.keys() == {"kty", "crv", "x", "y", "use", "x5c"}
        (text,) = jwk["x5c"]
        root = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        root.verify_directly_issued_by(root)
        numbers = root.public_key().public_numbers()  # type: ignore[union-attr]
        assert int.from_bytes(base64.urlsafe_b64decode(jwk["x"] + "=")) == numbers.x  # type: ignore[union-attr]


def test_1_3_10_jwt_keys_have_a_kid_of_their_own() -> None:
    """JWT-SVID 6.1; and no key serves both kinds."""
    keys = [jwk for jwk in _DOCUMENT["keys"] if jwk["use"] == "jwt-svid"]
    assert all(jwk.keys() == {"kty", "crv", "x", "y", "use", "kid"} for jwk in keys)
    assert len({jwk["kid"] for jwk in keys}) == 2
    assert len({jwk["x"] for jwk in _DOCUMENT["keys"]}) == 4


def test_1_7_8_the_spiffe_package_reads_our_roots_and_keys() -> None:
    """Both forms that the Workload API carries."""
    theirs, bundle = TheirTrustDomain("example.org"), _AUTHORITY.bundle(7)
    assert len(X509Bundle.parse_raw(theirs, bundle.x509_der()).x509_authorities) == 2
    assert set(JwtBundle.parse(theirs, bundle.jwks()).jwt_authorities) == set(bundle.jwt_authorities)


def test_1_7_6_a_bundle_map_is_keyed_by_names_without_hints() -> None:
    """Section 5: no scheme in the names, no refresh hint in the bundles; what is read ignores one that is there."""
    other = Authority.create(TrustDomain("other.org"), MemoryKeys(), now=_NOW).bundle(1)
    document = json.loads(write_map([_AUTHORITY.bundle(7), other]))
    assert document.keys() == {"trust_domains"}
    assert document["trust_domains"].keys() == {"example.org", "other.org"}
    assert all(bundle.keys() == {"keys", "spiffe_sequence"} for bundle in document["trust_domains"].values())
    for hint in (1, -1, "soon", None):
        document["trust_domains"]["other.org"]["spiffe_refresh_hint"] = hint
        assert parse_map(json.dumps(document).encode())[TrustDomain("other.org")] == other


@pytest.mark.parametrize(
    "text",
    [
        '{"trust_domains":{"a.org":{"keys":[]},"a.org":{"keys":[]}}}',
        '{"trust_domains":{"a.org":{"keys":[],"keys":[]}}}',
        '{"trust_domains":{"spiffe://a.org":{"keys":[]}}}',
        '{"trust_domains":{"a.org":{"keys":[]},"b.org":{}}}',
    ],
)
def test_1_7_6_a_bundle_map_is_read_whole_or_not_at_all(text: str) -> None:
    """Section 5: names are unique, which duplicate JSON keys are not, and are no IDs; one bad bundle refuses all."""
    with pytest.raises(RingfenceError):
        parse_map(text.encode())
