"""X509-SVID.md by the numbers of lines.toml (1.2): what we sign, and what our validator takes from others."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import spiffe_id_of, verify_peer
from tests.attacks import LEAF_USAGE, forge, signer
from tests.certs.material import new_authority, new_key

_TD, _OTHER, _NOW = TrustDomain("example.org"), TrustDomain("other.org"), datetime.now(UTC)
_HOUR = timedelta(hours=1)
_AUTHORITY, _KEYS = new_authority(now=_NOW)
_ROOT = _AUTHORITY.current.x509.certificate
_BUNDLE = _AUTHORITY.bundle(1)
_TRAINER = SpiffeId(_TD, "/ns/team-a/sa/trainer")
_KEY = new_key().public_key()


def _issued(*dns_names: str, authority: Authority = _AUTHORITY) -> x509.Certificate:
    chain = authority.issue_x509(_TRAINER, _KEY, now=_NOW, ttl=_HOUR, dns_names=dns_names)
    return x509.load_der_x509_certificate(chain[0])


def _forged(*uris: str, names: Sequence[x509.GeneralName] = (), now: datetime = _NOW, **extensions: Any) -> bytes:
    """A leaf of our authority's key with other names, or other extensions: `usage=(value, critical)`, None for none."""
    kinds = {"usage": x509.KeyUsage, "extended": x509.ExtendedKeyUsage, "constraints": x509.BasicConstraints}
    overrides = {
        kinds[name]: None if made is None else x509.Extension(made[0].oid, made[1], made[0])
        for name, made in extensions.items()
    }
    every = [*(x509.UniformResourceIdentifier(uri) for uri in uris or (str(_TRAINER),)), *names]
    return forge(_ROOT, signer(_AUTHORITY, _KEYS), _KEY, names=every, now=now, overrides=overrides)


def _usage(**changes: bool) -> x509.KeyUsage:
    flags = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    known = {name: getattr(LEAF_USAGE, name) for name in (*flags, "key_cert_sign", "crl_sign")}
    return x509.KeyUsage(**{**known, "encipher_only": False, "decipher_only": False, **changes})


def _accepted(der: bytes) -> None:
    assert verify_peer([der], _BUNDLE, now=_NOW) == _TRAINER


def _refused(der: bytes, says: str, now: datetime = _NOW) -> None:
    with pytest.raises(RingfenceError, match=says) as caught:
        verify_peer([der], _BUNDLE, now=now)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def _extension(certificate: x509.Certificate, kind: type[Any]) -> tuple[bool, Any]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.critical, found.value


@pytest.mark.parametrize(
    "uris",
    [
        ["spiffe://other.org/x", str(_TRAINER)],
        [str(_TRAINER), "spiffe://other.org/x"],
        [str(_TRAINER), "https://example.org/"],
        [str(_TRAINER), str(_TRAINER)],
    ],
)
def test_1_2_1_two_uris_are_refused_wherever_a_name_is_read(uris: list[str]) -> None:
    """Whatever their scheme and order; other kinds of names may stand beside the one."""
    _refused(_forged(*uris), "exactly one URI")
    with pytest.raises(RingfenceError, match="exactly one URI"):
        spiffe_id_of(_forged(*uris))
    _accepted(_forged(names=[x509.DNSName("a.example.org")]))


def test_1_2_1_ours_have_one() -> None:
    """With DNS names beside it, and on the authority too."""
    for certificate in (_issued("a.local", "b.local"), _ROOT):
        names = _extension(certificate, x509.SubjectAlternativeName)[1]
        assert len(names.get_values_for_type(x509.UniformResourceIdentifier)) == 1
    without = forge(_ROOT, signer(_AUTHORITY, _KEYS), _KEY, names=[x509.DNSName("a")], now=_NOW)
    _refused(without, "exactly one URI")


def test_1_2_2_a_leaf_names_a_workload() -> None:
    """The trust domain's own ID is neither signed for a leaf nor taken from one."""
    with pytest.raises(RingfenceError, match="names a trust domain"):
        _AUTHORITY.issue_x509(SpiffeId(_TD, ""), _KEY, now=_NOW, ttl=_HOUR)
    _refused(_forged("spiffe://example.org"), "names a trust domain")


def test_1_2_3_names_are_critical_where_the_subject_is_empty() -> None:
    """Ours have a subject always, and theirs need none, but then the names have to be critical."""
    for certificate in (_issued(), _issued("x" * 63 + ".local"), _ROOT):
        assert len(certificate.subject.rdns) > 0
    signer = _KEYS._keys[_AUTHORITY.current.x509.key_id]
    for critical in (True, False):
        empty = (
            x509.CertificateBuilder(_ROOT.subject, x509.Name([]), _KEY, 1)
            .not_valid_before(_NOW - _HOUR)
            .not_valid_after(_NOW + _HOUR)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(_TRAINER))]), critical)
            .add_extension(LEAF_USAGE, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        leaf = empty.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)
        if critical:
            _accepted(leaf)
        else:
            _refused(leaf, "does not verify")


def test_1_2_4_the_signing_certificate_is_an_svid_of_the_domain() -> None:
    """A CA that may sign certificates, whose ID is the trust domain's and has no path."""
    assert spiffe_id_of(_AUTHORITY.current.x509.der) == SpiffeId(_TD, "")
    assert _extension(_ROOT, x509.KeyUsage)[1].key_cert_sign
    assert _extension(_ROOT, x509.BasicConstraints)[1].ca


def test_1_2_5_a_signing_certificate_is_no_peer() -> None:
    """Neither the root, nor a workload's name on a certificate that could sign."""
    _refused(_AUTHORITY.current.x509.der, "names a trust domain")
    _refused(_forged(constraints=(x509.BasicConstraints(ca=True, path_length=0), True)), "signing certificate")


def test_1_2_6_basic_constraints_say_who_is_an_authority() -> None:
    """Critical on both."""
    assert _extension(_ROOT, x509.BasicConstraints) == (True, x509.BasicConstraints(ca=True, path_length=None))
    assert _extension(_issued(), x509.BasicConstraints) == (True, x509.BasicConstraints(ca=False, path_length=None))


def test_1_2_7_there_are_no_name_constraints() -> None:
    """On roots and on their leaves: the verifier of cryptography reads none on URIs and refuses the chain."""
    for certificate in (_ROOT, _issued()):
        with pytest.raises(x509.ExtensionNotFound):
            certificate.extensions.get_extension_for_class(x509.NameConstraints)


@pytest.mark.parametrize(
    ("usage", "says"),
    [
        (None, "does not say what its key is for"),
        ((_usage(), False), "not critical"),
        ((_usage(digital_signature=False), True), "lacks digitalSignature"),
        ((_usage(key_cert_sign=True), True), "signs certificates"),
        ((_usage(crl_sign=True), True), "revocation lists"),
    ],
)
def test_1_2_8_key_usage_is_that_of_a_leaf(usage: tuple[x509.KeyUsage, bool] | None, says: str) -> None:
    """Each rule by a leaf that breaks it; keyEncipherment and keyAgreement may be there or not."""
    _accepted(_forged(usage=(_usage(key_encipherment=False, key_agreement=False), True)))
    _refused(_forged(usage=usage), says)


def test_1_2_8_an_authority_signs_and_does_nothing_else() -> None:
    """Critical; digitalSignature is for leaves."""
    critical, usage = _extension(_ROOT, x509.KeyUsage)
    assert critical
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)


@pytest.mark.parametrize("one", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_1_2_9_extended_usage_is_for_both_ends_or_is_not_there(one: x509.ObjectIdentifier) -> None:
    """A leaf with one of the two is refused, one without the extension is taken; authorities have none."""
    _accepted(_forged(extended=None))
    _refused(_forged(extended=(x509.ExtendedKeyUsage([one]), False)), "both ends")
    with pytest.raises(x509.ExtensionNotFound):
        _extension(_ROOT, x509.ExtendedKeyUsage)


def test_1_2_10_a_path_is_valid_now_and_leads_to_a_root() -> None:
    """Before and after its time, under a root that left the bundle, and with a bit flipped a leaf proves nothing."""
    leaf = _issued().public_bytes(Encoding.DER)
    _accepted(leaf)
    for when in (_NOW - timedelta(minutes=1), _NOW + _HOUR + timedelta(seconds=1)):
        _refused(leaf, "does not verify", when)
    _refused(leaf[:-1] + bytes([leaf[-1] ^ 1]), "does not verify")
    for bundle in (SpiffeBundle(_TD), new_authority(now=_NOW)[0].bundle(1)):
        with pytest.raises(RingfenceError, match=r"no authority|does not verify"):
            verify_peer([leaf], bundle, now=_NOW)


@pytest.mark.parametrize(
    "uri", ["https://example.org/a", "spiffe://example.org/a/", "spiffe://EXAMPLE.org/a", "spiffe://example.org:1/a"]
)
def test_1_2_11_the_one_uri_is_a_spiffe_id(uri: str) -> None:
    """With its other guards in lines 1, 2, 5 and 8."""
    _refused(_forged(uri), "is no")


def test_1_2_11_a_root_vouches_for_its_own_domain_only() -> None:
    """Another domain's ID under our root, and ours under another's."""
    _refused(_forged("spiffe://other.org/a"), "not of the trust domain")
    other, keys = new_authority(_OTHER, now=_NOW)
    names = [x509.UniformResourceIdentifier(str(_TRAINER))]
    _refused(forge(other.current.x509.certificate, signer(other, keys), _KEY, names=names, now=_NOW), "not verify")


def test_1_2_13_entries_without_a_certificate_are_ignored() -> None:
    """The key alone is left out, whether x5c is missing or empty; the rest of the bundle stands."""
    document = json.loads(_BUNDLE.to_json())
    whole = next(jwk for jwk in document["keys"] if jwk["use"] == "x509-svid")
    missing = {name: value for name, value in whole.items() if name != "x5c"}
    document["keys"] += [missing, {**whole, "x5c": []}]
    assert SpiffeBundle.parse(_TD, json.dumps(document).encode()) == _BUNDLE


def test_1_2_13_of_several_certificates_the_first_counts() -> None:
    """A second one in the same entry is no authority."""
    second, _ = new_authority(now=_NOW)
    document = json.loads(_BUNDLE.to_json())
    for jwk in document["keys"]:
        if jwk["use"] == "x509-svid":
            jwk["x5c"].append(base64.b64encode(second.current.x509.der).decode())
    found = SpiffeBundle.parse(_TD, json.dumps(document).encode())
    assert found.x509_authorities == _BUNDLE.x509_authorities
    leaf = _issued(authority=second).public_bytes(Encoding.DER)
    with pytest.raises(RingfenceError, match="does not verify"):
        verify_peer([leaf], found, now=_NOW)
