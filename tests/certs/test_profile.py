"""Drafts and the rules that they must meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import (
    LeafDraft,
    check_draft,
    csr_public_key,
    csr_public_keys,
    draft_leaf,
    new_csr,
    new_serial,
)
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId
from tests.certs.material import HOUR, MINUTE, NOW, OTHER_TD, SECOND, TD, TRAINER, new_key

_KEY = new_key()


def _draft(**changes: Any) -> LeafDraft:
    draft = draft_leaf(TRAINER, _KEY.public_key(), now=NOW, ttl=HOUR, issuer_not_after=NOW + timedelta(days=1))
    return replace(draft, **changes)


def test_a_draft_starts_ten_seconds_ago_in_whole_seconds() -> None:
    """Clocks of peers may lag; a certificate knows no fractions."""
    draft = _draft()
    assert draft.not_before == (NOW - 10 * SECOND).replace(microsecond=0)
    assert draft.not_after == (NOW + HOUR).replace(microsecond=0)


def test_a_draft_ends_with_its_issuer_at_the_latest() -> None:
    """The issuer's end cuts the ttl short."""
    ends = (NOW + MINUTE).replace(microsecond=0)
    draft = draft_leaf(TRAINER, _KEY.public_key(), now=NOW, ttl=HOUR, issuer_not_after=ends)
    assert draft.not_after == ends


def test_a_draft_begins_with_its_issuer_at_the_earliest() -> None:
    """A clock that jumped back makes no leaf older than its issuer."""
    starts = (NOW + MINUTE).replace(microsecond=0)
    draft = draft_leaf(
        TRAINER, _KEY.public_key(), now=NOW, ttl=HOUR, issuer_not_before=starts, issuer_not_after=NOW + 2 * HOUR
    )
    assert draft.not_before == starts


def test_serials_are_positive_and_do_not_repeat() -> None:
    """128 random bits each (RFC 5280 4.1.2.2)."""
    serials = {new_serial() for _ in range(1000)}
    assert len(serials) == 1000
    assert all(0 < serial < 1 << 128 for serial in serials)


def test_the_common_name_is_the_first_dns_name_where_it_fits() -> None:
    """More than 64 bytes are left out (RFC 5280 upper bound), and so is it without DNS names."""
    assert b"db.example.org" in _draft(dns_names=("db.example.org", "x")).subject
    assert _draft(dns_names=("a" * 63 + ".bc",)).subject == _draft().subject


def test_the_usual_draft_is_accepted() -> None:
    """Names, key, serial and times as `draft_leaf` makes them pass the check."""
    check_draft(_draft(dns_names=("db.example.org",)), trust_domain=TD)


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"spiffe_id": SpiffeId(OTHER_TD, "/x")}, Kind.DENIED, "not of the trust domain"),
        ({"spiffe_id": SpiffeId(TD, "")}, Kind.INVALID, "names a trust domain"),
        ({"public_key": ec.generate_private_key(ec.SECP521R1()).public_key()}, Kind.INVALID, "secp521r1"),
        ({"public_key": ec.generate_private_key(ec.SECP256K1()).public_key()}, Kind.INVALID, "secp256k1"),
        ({"serial": 0}, Kind.INVALID, "serial"),
        ({"serial": -1}, Kind.INVALID, "serial"),
        ({"serial": 1 << 128}, Kind.INVALID, "serial"),
        ({"not_after": NOW.replace(microsecond=0)}, Kind.INVALID, "end as it begins"),
        ({"not_after": NOW + HOUR}, Kind.INVALID, "whole seconds"),
        ({"not_before": NOW.replace(microsecond=0, tzinfo=None)}, Kind.INVALID, "aware UTC"),
        ({"dns_names": ("*.example.org",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("DB.example.org",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("-a",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("a-",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("a..b",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("a\n",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("",)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": (".".join(["a" * 60] * 5),)}, Kind.INVALID, "no DNS name"),
        ({"dns_names": ("a", "a")}, Kind.INVALID, "each once"),
        ({"dns_names": tuple(f"h{n}" for n in range(65))}, Kind.INVALID, "up to 64"),
        ({"ip_addresses": (ip_address("10.0.0.1"),)}, Kind.INVALID, "control plane only"),
    ],
)
def test_what_must_never_be_signed_is_refused(changes: dict[str, Any], kind: Kind, says: str) -> None:
    """Each guard of the check, by the one thing that trips it."""
    with pytest.raises(RingfenceError, match=says) as caught:
        check_draft(_draft(**changes), trust_domain=TD)
    assert caught.value.kind is kind


def test_the_control_plane_may_have_addresses() -> None:
    """GRPC clients of the server verify the address they dial."""
    draft = _draft(spiffe_id=SpiffeId(TD, "/ringfence/server"), ip_addresses=(ip_address("127.0.0.1"),))
    check_draft(draft, trust_domain=TD)


def test_a_request_gives_its_key() -> None:
    """The key comes out of the request that it signed."""
    assert csr_public_key(new_csr(_KEY)) == _KEY.public_key()


def test_names_in_a_request_are_not_even_read() -> None:
    """A request may ask for any name: only its key counts, and a draft has no place for the rest."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/ringfence/server")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")]))
        .add_extension(names, critical=True)
        .sign(_KEY, hashes.SHA384())
    )
    assert csr_public_key(request.public_bytes(Encoding.DER)) == _KEY.public_key()


def test_a_request_signed_by_another_key_is_refused() -> None:
    """Without proof of possession anyone could have another's key certified under their own name."""
    der = bytearray(new_csr(_KEY))
    der[-1] ^= 1
    with pytest.raises(RingfenceError, match="not signed by its own key"):
        csr_public_key(bytes(der))


def test_of_a_batch_every_request_is_proven() -> None:
    """One that another key signed is refused among those that are in order, and in its own place."""
    keys = [new_key() for _ in range(3)]
    requests = [bytearray(new_csr(key)) for key in keys]
    requests[1][-1] ^= 1
    first, forged, last = csr_public_keys(map(bytes, requests))
    assert [first, last] == [keys[0].public_key(), keys[2].public_key()]
    assert isinstance(forged, RingfenceError)
    assert "not signed by its own key" in forged.detail


@pytest.mark.parametrize(
    ("key", "digest", "says"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256(), "no elliptic curve key"),
        (ed25519.Ed25519PrivateKey.generate(), None, "no elliptic curve key"),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), "secp521r1"),
        (_KEY, hashes.SHA224(), "weak digest"),
    ],
)
def test_requests_of_other_kinds_are_refused(key: Any, digest: Any, says: str) -> None:
    """Only P-256 and P-384 keys are certified, and only over a strong digest."""
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, digest)
    with pytest.raises(RingfenceError, match=says):
        csr_public_key(request.public_bytes(Encoding.DER))


@pytest.mark.filterwarnings("ignore:Attribute's length")
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(1, 255))
def test_no_bytes_break_the_reading_of_a_request(noise: bytes, at: int, flip: int) -> None:
    """Noise, and a request with any one byte changed, end in INVALID."""
    der = bytearray(new_csr(_KEY))
    padding = len(der) - len(x509.load_der_x509_csr(bytes(der)).signature) - 1  # it counts unused bits: none
    der[at % padding] ^= flip
    for tried in (noise, bytes(der)):
        with pytest.raises(RingfenceError) as caught:
            csr_public_key(tried)
        assert caught.value.kind is Kind.INVALID


def test_nobody_but_the_server_is_certified_under_its_name() -> None:
    """A gRPC client of ours checks only that DNS name: a workload with it could pose as the control plane."""
    server = _draft(spiffe_id=SpiffeId(TD, "/ringfence/server"), dns_names=(SERVER_NAME,))
    check_draft(server, trust_domain=TD)
    with pytest.raises(RingfenceError, match="control plane's own name"):
        check_draft(replace(server, spiffe_id=TRAINER), trust_domain=TD)
