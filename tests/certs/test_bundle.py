"""Bundles: published strictly, read tolerantly."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from tests.certs.material import NOW, TD, new_authority

_AUTHORITY, _ = new_authority()
_AUTHORITY.prepare(NOW)
_BUNDLE = _AUTHORITY.bundle(7)
_DOCUMENT: dict[str, Any] = json.loads(_BUNDLE.to_json())


def _parse(document: object) -> SpiffeBundle:
    return SpiffeBundle.parse(TD, json.dumps(document).encode())


def _with_keys(*keys: object) -> SpiffeBundle:
    return _parse({"keys": list(keys)})


def test_a_bundle_reads_back_as_it_was_written() -> None:
    """Roots in their order, keys by kid, sequence and hint."""
    assert SpiffeBundle.parse(TD, _BUNDLE.to_json()) == _BUNDLE


def test_keys_of_every_kind_that_others_use_read_back() -> None:
    """Federated domains sign with RSA and with other curves."""
    keys = {
        "rsa": rsa.generate_private_key(65537, 2048).public_key(),
        "p384": ec.generate_private_key(ec.SECP384R1()).public_key(),
        "p521": ec.generate_private_key(ec.SECP521R1()).public_key(),
    }
    bundle = replace(_BUNDLE, jwt_authorities=keys)
    assert SpiffeBundle.parse(TD, bundle.to_json()) == bundle


def test_the_same_bundle_is_the_same_bytes() -> None:
    """So that a version can be a hash of them."""
    assert _BUNDLE.to_json() == SpiffeBundle.parse(TD, _BUNDLE.to_json()).to_json()


def test_roots_as_der_stand_one_behind_the_other() -> None:
    """The Workload API's form: concatenated, without anything in between."""
    assert _BUNDLE.x509_der() == b"".join(_BUNDLE.x509_authorities)


def test_roots_as_pem_are_what_tls_libraries_load() -> None:
    """The file that openssl and grpcio read as trusted roots."""
    certs = x509.load_pem_x509_certificates(_BUNDLE.x509_pem())
    assert [cert.subject for cert in certs] == [
        slot.x509.certificate.subject for slot in (_AUTHORITY.current, _AUTHORITY.next) if slot
    ]


def test_the_jwt_bundle_has_no_x509_keys() -> None:
    """Only keys that may verify tokens are in it."""
    assert {jwk["use"] for jwk in json.loads(_BUNDLE.jwks())["keys"]} == {"jwt-svid"}


def test_an_empty_key_set_is_everything_revoked() -> None:
    """`[]` is a bundle; a missing `keys` is none."""
    assert _with_keys().x509_authorities == ()
    with pytest.raises(RingfenceError, match="`keys` is missing"):
        _parse({})


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "OKP", "use": "jwt-svid", "kid": "a", "crv": "Ed25519", "x": "AA"},
        {"kty": "EC", "use": "wit-svid", "kid": "a"},
        {"kty": "EC", "use": "JWT-SVID", "kid": "a"},
        {"kty": "EC"},
        {"use": "x509-svid", "x5c": ["AAAA"]},
        {"kty": 5, "use": "x509-svid"},
        {"kty": "EC", "use": "x509-svid"},
        {"kty": "EC", "use": "x509-svid", "x5c": []},
        {"kty": "EC", "use": "jwt-svid"},
        {},
    ],
)
def test_a_key_of_unknown_type_or_use_is_left_out_alone(jwk: dict[str, Any]) -> None:
    """The rest of the bundle stays (Trust_Domain_and_Bundle 4.2), and extra members are no matter."""
    bundle = _parse({**_DOCUMENT, "keys": [jwk, *_DOCUMENT["keys"]], "extra": {"a": 1}})
    assert bundle == _BUNDLE


def test_only_the_first_certificate_of_an_entry_counts() -> None:
    """X509-SVID 6.2."""
    first, second = (base64.b64encode(der).decode() for der in _BUNDLE.x509_authorities)
    assert _with_keys({"kty": "EC", "use": "x509-svid", "x5c": [first, second]}).x509_authorities == (
        _BUNDLE.x509_authorities[0],
    )


def test_a_root_of_another_kind_is_not_published() -> None:
    """Readers of the bundle know elliptic curve and RSA keys."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    root = x509.CertificateBuilder(name, name, key.public_key(), 5, NOW, NOW).sign(key, None)
    with pytest.raises(RingfenceError, match="neither elliptic curve nor RSA"):
        SpiffeBundle(TD, (root.public_bytes(Encoding.DER),)).to_json()


_JWT = next(jwk for jwk in _DOCUMENT["keys"] if jwk["use"] == "jwt-svid")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["text"], "keys[0] is no object"),
        ([{"kty": "EC", "use": "x509-svid", "x5c": "AAAA"}], "no list of strings"),
        ([{"kty": "EC", "use": "x509-svid", "x5c": [5]}], "no list of strings"),
        ([{"kty": "EC", "use": "x509-svid", "x5c": ["????"]}], "holds no certificate"),
        ([{"kty": "EC", "use": "x509-svid", "x5c": ["AAAA"]}], "holds no certificate"),
        ([{"kty": "EC", "use": "jwt-svid", "kid": 5}], "kid is no string"),
        ([_JWT, _JWT], "there twice"),
        ([{**_JWT, "x": "AA"}], "no EC public key"),
        ([{**_JWT, "crv": "P-999"}], "no EC public key"),
        ([{**_JWT, "x": 5}], "no EC public key"),
        ([{"kty": "EC", "use": "jwt-svid", "kid": "a"}], "no EC public key"),
        ([{"kty": "RSA", "use": "jwt-svid", "kid": "a", "n": "AA"}], "no RSA public key"),
    ],
)
def test_a_broken_key_of_a_known_use_refuses_the_bundle(keys: list[object], says: str) -> None:
    """Half a bundle would look like a revocation: the last good one stays instead."""
    with pytest.raises(RingfenceError) as caught:
        _with_keys(*keys)
    assert caught.value.kind is Kind.INVALID
    assert says in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"keys":[],"keys":[]}',
        b'{"keys":[{"kty":"EC","kty":"RSA"}]}',
        b'{"keys":{}}',
        b"[" * 100_000,
        b'{"keys":[],"spiffe_sequence":"1"}',
        b'{"keys":[],"spiffe_sequence":1.5}',
        b'{"keys":[],"spiffe_sequence":true}',
        b'{"keys":[],"spiffe_sequence":-1}',
        b'{"keys":[],"spiffe_sequence":9223372036854775808}',
        b'{"keys":[],"spiffe_refresh_hint":"5m"}',
        b'{"keys":[]}' + b" " * (4 << 20),
    ],
)
def test_what_is_no_bundle_is_refused(text: bytes) -> None:
    """No JSON, a member twice, numbers that are none, more than anyone needs."""
    with pytest.raises(RingfenceError) as caught:
        SpiffeBundle.parse(TD, text)
    assert caught.value.kind is Kind.INVALID


def test_sequence_has_64_bits_and_the_hint_is_seconds() -> None:
    """Both may be missing: then nothing is known, and the hint is low."""
    bundle = _parse({"keys": [], "spiffe_sequence": 9223372036854775807, "spiffe_refresh_hint": 60})
    assert (bundle.sequence, bundle.refresh_hint) == (9223372036854775807, timedelta(minutes=1))
    assert _with_keys().refresh_hint == timedelta(minutes=5)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["keys", "kty", "use", "kid", "x5c", "crv", "x", "y", "n", "e", "spiffe_sequence"]), inner
        )
    ),
    max_leaves=12,
)
_KEYS = st.fixed_dictionaries(
    {"kty": st.sampled_from(["EC", "RSA"]), "use": st.sampled_from(["x509-svid", "jwt-svid", "wit-svid"])},
    optional=dict.fromkeys(("kid", "x5c", "crv", "x", "y", "n", "e"), _JSON),
)


@given(_JSON | st.fixed_dictionaries({"keys": st.lists(_KEYS, max_size=3)}))
def test_no_json_breaks_the_parser(document: object) -> None:
    """Anything is a bundle or INVALID."""
    try:
        _parse(document)
    except RingfenceError as caught:
        kind = caught.kind
        assert kind is Kind.INVALID
