"""The patched template against the library's builder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs import tbs
from ringfence.certs.profile import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, LeafDraft
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.material import NOW, TD, new_authority, new_key

_AUTHORITY, _KEYS = new_authority()
_ISSUER = _AUTHORITY.current.x509.certificate
_PUBLIC_KEYS = [ec.generate_private_key(curve).public_key() for curve in (ec.SECP256R1(), ec.SECP384R1())]
_NAMES = st.sampled_from(["localhost", "a.example.org", "x" * 63 + ".org"])
_SEGMENTS = st.text("abcXYZ019._-", min_size=1, max_size=300).filter(lambda s: s not in {".", ".."})
_MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001


@st.composite
def drafts(draw: st.DrawFn) -> LeafDraft:
    """Any draft at all, well beyond what `check_draft` lets through."""
    starts = draw(_MOMENTS)
    path = "".join("/" + segment for segment in draw(st.lists(_SEGMENTS, min_size=1, max_size=4)))
    return LeafDraft(
        spiffe_id=SpiffeId(TD, path),
        public_key=draw(st.sampled_from(_PUBLIC_KEYS)),
        serial=draw(st.integers(1, (1 << 128) - 1)),
        not_before=starts,
        not_after=starts + timedelta(seconds=draw(st.integers(0, 1 << 31))),
        dns_names=tuple(draw(st.lists(_NAMES, unique=True))),
        ip_addresses=tuple(ip_address(text) for text in draw(st.lists(st.sampled_from(["127.0.0.1", "::1"])))),
    )


@given(drafts())
def test_a_leaf_is_laid_out_as_cryptographys_builder_does(draft: LeafDraft) -> None:
    """The bytes to be signed are the very bytes that the library's own builder makes of the same fields."""
    subject = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ringfence")]
    if draft.dns_names and len(draft.dns_names[0]) <= 64:
        subject.append(x509.NameAttribute(x509.NameOID.COMMON_NAME, draft.dns_names[0]))
    builder = (
        x509.CertificateBuilder()
        .serial_number(draft.serial)
        .issuer_name(_ISSUER.subject)
        .subject_name(x509.Name(subject))
        .not_valid_before(draft.not_before)
        .not_valid_after(draft.not_after)
        .public_key(draft.public_key)
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(draft.spiffe_id))]
    names += [x509.DNSName(name) for name in draft.dns_names]
    names += [x509.IPAddress(address) for address in draft.ip_addresses]
    ski = _ISSUER.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for value, critical in (
        (KEY_USAGE, True),
        (EXTENDED_KEY_USAGE, False),
        (BASIC_CONSTRAINTS, True),
        (x509.SubjectKeyIdentifier.from_public_key(draft.public_key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), False),
        (x509.SubjectAlternativeName(names), False),
    ):
        builder = builder.add_extension(value, critical)
    theirs = builder.sign(new_key(), hashes.SHA256())
    assert tbs.LeafTemplate.of(_ISSUER).fill(draft) == theirs.tbs_certificate_bytes


def test_a_root_is_laid_out_as_cryptographys_builder_does() -> None:
    """The root, too, is byte for byte what the library makes of its fields."""
    key, serial = new_key(), 2**127 + 5
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ringfence"),
            x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, str(serial)),
        ]
    )
    starts = NOW.replace(microsecond=0)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    theirs = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(name)
        .subject_name(name)
        .not_valid_before(starts)
        .not_valid_after(starts + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(TD.id)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ours = tbs.authority_tbs(
        TD, key.public_key(), serial=serial, not_before=starts, not_after=starts + timedelta(days=1)
    )
    assert ours == theirs.tbs_certificate_bytes
