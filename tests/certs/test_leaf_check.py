"""What was signed is what was drafted, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs import der, tbs
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.leaf_check import LeafCheck, check_leaf
from ringfence.certs.profile import LeafDraft
from tests.attacks import LEAF_USAGE, forge, signer
from tests.certs.material import HOUR, NOW, SECOND, TRAINER, new_authority, new_key

_AUTHORITY, _KEYS = new_authority()
_ISSUER = _AUTHORITY.current.x509.certificate
_SIGN = signer(_AUTHORITY, _KEYS)
_DRAFT = _AUTHORITY.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)


def _signed(draft: LeafDraft) -> bytes:
    layout = tbs.LeafTemplate.of(_ISSUER).fill(draft)
    return tbs.certificate(layout, _SIGN(layout))


_GOOD = _signed(_DRAFT)


def test_what_was_drafted_is_accepted() -> None:
    """A leaf of the profile under the issuer's own signature passes."""
    check_leaf(_signed(_DRAFT), _DRAFT, _ISSUER)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"serial": 7}, "serial"),
        ({"dns_names": ("a",)}, "subject, names"),
        ({"not_before": _DRAFT.not_before - SECOND}, "start"),
        ({"not_after": _DRAFT.not_after + SECOND}, "end"),
        ({"public_key": new_key().public_key()}, "public key, extensions"),
        ({"spiffe_id": replace(TRAINER, path="/ns/team-a/sa/other")}, "names"),
    ],
)
def test_each_field_of_the_draft_is_compared(changes: dict[str, Any], field: str) -> None:
    """A signer that signs anything but the draft is found out, and the error names the field."""
    with pytest.raises(RingfenceError, match=f"differs from the draft in: {field}$") as caught:
        check_leaf(_signed(replace(_DRAFT, **changes)), _DRAFT, _ISSUER)
    assert caught.value.kind is Kind.INVALID


def _extension(value: x509.ExtensionType, *, critical: bool) -> dict[Any, Any]:
    return {type(value): x509.Extension(value.oid, critical, value)}


@pytest.mark.parametrize(
    "overrides",
    [
        {x509.KeyUsage: None},
        {x509.BasicConstraints: None},
        {x509.ExtendedKeyUsage: None},
        {x509.SubjectKeyIdentifier: None},
        {x509.AuthorityKeyIdentifier: None},
        _extension(LEAF_USAGE, critical=False),
        _extension(x509.BasicConstraints(ca=True, path_length=None), critical=True),
        _extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False),
        _extension(x509.OCSPNoCheck(), critical=False),
    ],
)
def test_extensions_are_exactly_those_of_the_profile(overrides: dict[Any, Any]) -> None:
    """One missing, one more, another value or another criticality: each is refused."""
    forged = forge(
        _ISSUER,
        _SIGN,
        _DRAFT.public_key,
        names=[x509.UniformResourceIdentifier(str(TRAINER))],
        now=NOW,
        overrides=overrides,
    )
    serial = x509.load_der_x509_certificate(forged).serial_number
    with pytest.raises(RingfenceError, match=r"in: extensions(, names)?$"):
        check_leaf(forged, replace(_DRAFT, serial=serial), _ISSUER)


@pytest.mark.parametrize(
    "uris", [[], ["spiffe://example.org/a", str(TRAINER)], [str(TRAINER), "https://example.org/"], [str(TRAINER)] * 2]
)
def test_the_profile_has_exactly_one_uri(uris: Sequence[str]) -> None:
    """No number of URI names but one gets past the check, even from our own key."""
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    forged = forge(_ISSUER, _SIGN, _DRAFT.public_key, names=names, now=NOW)
    serial = x509.load_der_x509_certificate(forged).serial_number
    with pytest.raises(RingfenceError, match=r"in: (extensions, )?names$"):
        check_leaf(forged, replace(_DRAFT, serial=serial), _ISSUER)


def test_a_signature_by_another_key_is_refused() -> None:
    """A key manager that signs with the wrong key hands out nothing."""
    other, other_keys = new_authority()
    layout = tbs.LeafTemplate.of(_ISSUER).fill(_DRAFT)
    signed = tbs.certificate(layout, signer(other, other_keys)(layout))
    with pytest.raises(RingfenceError, match="does not verify"):
        check_leaf(signed, _DRAFT, _ISSUER)


def test_another_issuers_name_is_refused() -> None:
    """A leaf laid out for another root differs in its issuer and its authority key identifier."""
    other, _ = new_authority()
    layout = tbs.LeafTemplate.of(other.current.x509.certificate).fill(_DRAFT)
    with pytest.raises(RingfenceError, match=r"in: issuer, extensions$"):
        check_leaf(tbs.certificate(layout, _SIGN(layout)), _DRAFT, _ISSUER)


def test_a_leaf_does_not_outlive_its_issuer() -> None:
    """Drafted and signed alike beyond the root's end, it is still refused."""
    late = replace(_DRAFT, not_after=_ISSUER.not_valid_after_utc + SECOND)
    with pytest.raises(RingfenceError, match="outlives"):
        check_leaf(_signed(late), late, _ISSUER)


def test_a_leaf_is_not_older_than_its_issuer() -> None:
    """Nor does it begin before the root does (RFC 5280 validity nests by our own rule)."""
    early = replace(_DRAFT, not_before=_ISSUER.not_valid_before_utc - SECOND)
    with pytest.raises(RingfenceError, match="outlives"):
        check_leaf(_signed(early), early, _ISSUER)


def test_no_field_more_than_the_profile_has() -> None:
    """An issuer unique identifier, which no one parses, does not slip through."""
    fields = der.parts(tbs.LeafTemplate.of(_ISSUER).fill(_DRAFT))
    layout = der.sequence(*fields[:7], der.tlv(0x81, b"\x00abc"), fields[7])
    with pytest.raises(RingfenceError, match="number of fields"):
        check_leaf(tbs.certificate(layout, _SIGN(layout)), _DRAFT, _ISSUER)


def test_a_certificate_of_the_first_version_is_refused() -> None:
    """It has neither version nor extensions, and so no name that we gave."""
    layout = der.sequence(*der.parts(tbs.LeafTemplate.of(_ISSUER).fill(_DRAFT))[1:7])
    with pytest.raises(RingfenceError, match="number of fields"):
        check_leaf(tbs.certificate(layout, _SIGN(layout)), _DRAFT, _ISSUER)


def test_a_name_of_another_kind_is_refused() -> None:
    """The same characters as a DNS name are no SPIFFE ID."""
    forged = forge(_ISSUER, _SIGN, _DRAFT.public_key, names=[x509.DNSName(str(TRAINER))], now=NOW)
    serial = x509.load_der_x509_certificate(forged).serial_number
    with pytest.raises(RingfenceError, match=r"in: (extensions, )?names$"):
        check_leaf(forged, replace(_DRAFT, serial=serial), _ISSUER)


@pytest.mark.parametrize("broken", [b"", b"\x30\x00", _signed(_DRAFT) + b"\x00", _signed(_DRAFT)[:-1]])
def test_what_is_no_certificate_is_refused(broken: bytes) -> None:
    """Noise, trailing bytes and truncation."""
    with pytest.raises(RingfenceError, match="no certificate"):
        check_leaf(broken, _DRAFT, _ISSUER)


@pytest.mark.parametrize(
    "extensions", [b"", b"\x30\x00", b"\x04\x00", b"\x30\x02\x05\x00", b"\x30\x04\x30\x02\x05\x00"]
)
def test_extensions_that_are_none_are_refused(extensions: bytes) -> None:
    """Empty, of another type or without a value."""
    fields = der.parts(tbs.LeafTemplate.of(_ISSUER).fill(_DRAFT))
    layout = der.sequence(*fields[:7], der.tlv(0xA3, extensions))
    with pytest.raises(RingfenceError):
        check_leaf(tbs.certificate(layout, _SIGN(layout)), _DRAFT, _ISSUER)


def test_names_are_not_critical_beside_a_subject() -> None:
    """RFC 5280 4.2.1.6 wants them critical only where the subject is empty."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(TRAINER))])
    forged = forge(_ISSUER, _SIGN, _DRAFT.public_key, names=[], now=NOW, overrides=_extension(names, critical=True))
    serial = x509.load_der_x509_certificate(forged).serial_number
    with pytest.raises(RingfenceError, match=r"in: names$"):
        check_leaf(forged, replace(_DRAFT, serial=serial), _ISSUER)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.data())
def test_no_change_of_one_byte_gets_through(data: st.DataObject) -> None:
    """Whatever byte of a good leaf is changed, it is refused as INVALID."""
    leaf = bytearray(_GOOD)
    padding = len(leaf) - len(x509.load_der_x509_certificate(_GOOD).signature) - 1  # it counts unused bits: none
    leaf[data.draw(st.integers(0, len(leaf) - 1).filter(lambda at: at != padding))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RingfenceError) as caught:
        check_leaf(bytes(leaf), _DRAFT, _ISSUER)
    assert caught.value.kind is Kind.INVALID


def test_an_extension_given_twice_is_refused() -> None:
    """RFC 5280 4.2 allows each once; which of two counts would be the reader's choice."""
    fields = der.parts(tbs.LeafTemplate.of(_ISSUER).fill(_DRAFT))
    (extensions,) = der.parts(fields[7])
    each = der.parts(extensions)
    layout = der.sequence(*fields[:7], der.tlv(0xA3, der.sequence(*each, each[-1])))
    with pytest.raises(RingfenceError, match="in: extensions"):
        check_leaf(tbs.certificate(layout, _SIGN(layout)), _DRAFT, _ISSUER)


def test_an_issuer_of_another_kind_is_refused() -> None:
    """Our authorities have elliptic curve keys."""
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateBuilder(
        _ISSUER.subject, _ISSUER.subject, key.public_key(), 5, _DRAFT.not_before, _DRAFT.not_after
    )
    with pytest.raises(RingfenceError, match="no elliptic curve key"):
        LeafCheck.of(builder.sign(key, hashes.SHA256()))
