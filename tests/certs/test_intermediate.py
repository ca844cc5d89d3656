"""Authorities below ours: what is signed for them, within what life, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.intermediate import AuthorityDraft, check_authority, draft_authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import csr_public_key
from ringfence.certs.request import signed_request
from ringfence.certs.slot import X509Authority
from ringfence.certs.svid import verify_peer
from ringfence.certs.upstream import Minted
from tests.ca import openssl
from tests.certs.material import HOUR, NOW, OTHER_TD, SECOND, TD, TRAINER, new_authority, new_key


class Above:
    """An authority of ours as another's upstream."""

    shares = True

    def __init__(self, authority: Authority) -> None:
        self.authority = authority

    def mint(self, trust_domain, request, *, now, ttl):  # type: ignore[no-untyped-def]  # noqa: ANN001, D102
        issuer = self.authority.current.x509
        draft = draft_authority(trust_domain, csr_public_key(request), issuer.certificate, now=now, ttl=ttl)
        return Minted(issuer.sign_authority(draft), issuer.chain, issuer.roots)

    def publish(self, *_: object) -> None:
        """Nothing."""


def drafted(root: X509Authority) -> AuthorityDraft:
    """A sound draft."""
    return draft_authority(TD, new_key().public_key(), root.certificate, now=NOW, ttl=HOUR)


def test_a_request_by_a_key_manager_is_what_others_take() -> None:
    """Cryptography and our own check read the key out of it, and believe that it is held."""
    keys = MemoryKeys()
    key = keys.generate("a")
    der = signed_request(key, lambda data: keys.sign("a", data))
    assert csr_public_key(der) == key
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert not list(request.subject)
    assert not list(request.extensions)


def test_three_generations_verify_under_the_root(tmp_path: Path) -> None:
    """OpenSSL and our own check follow leaf, two authorities and the root; no path length is in the way."""
    top, _ = new_authority()
    middle = Authority.create(TD, MemoryKeys(), now=NOW, upstream=Above(top))
    bottom = Authority.create(TD, MemoryKeys(), now=NOW, upstream=Above(middle))
    chain = bottom.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    assert len(chain) == 3
    bundle = SpiffeBundle(TD, (top.current.x509.der,))
    assert verify_peer(chain, bundle, now=NOW) == TRAINER
    pems = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain]
    leaf, others, roots = tmp_path / "leaf.pem", tmp_path / "others.pem", tmp_path / "roots.pem"
    leaf.write_bytes(pems[0])
    others.write_bytes(b"".join(pems[1:]))
    roots.write_bytes(bundle.x509_pem())
    at = ("-attime", str(int(NOW.timestamp())))
    assert "OK" in openssl("verify", *at, "-x509_strict", "-CAfile", roots, "-untrusted", others, leaf)


def test_it_is_named_for_the_trust_domain_alone_and_ends_with_whoever_signs_it() -> None:
    """Whatever ttl is asked for, and whatever the request says."""
    root = new_authority()[0].current.x509
    draft = draft_authority(TD, new_key().public_key(), root.certificate, now=NOW, ttl=HOUR * 24 * 365)
    cert = x509.load_der_x509_certificate(root.sign_authority(draft))
    assert cert.not_valid_after_utc == root.not_after
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://example.org")]
    assert cert.subject != root.certificate.subject


def test_what_must_not_be_signed_is_not() -> None:
    """A life beyond its issuer's or none, a serial out of range."""
    root = new_authority()[0].current.x509
    draft = drafted(root)
    for wrong in (
        replace(draft, not_after=root.not_after + SECOND),
        replace(draft, not_before=root.not_before - SECOND),
        replace(draft, not_after=draft.not_before),
        replace(draft, serial=0),
        replace(draft, serial=1 << 128),
    ):
        with pytest.raises(RingfenceError) as caught:
            root.sign_authority(wrong)
        assert caught.value.kind is Kind.INVALID


def test_an_authority_that_has_ended_signs_none() -> None:
    """Nor one that begins later: a clock is wrong."""
    root = new_authority()[0].current.x509
    for now in (root.not_after, root.not_before - HOUR):
        with pytest.raises(RingfenceError) as caught:
            draft_authority(TD, new_key().public_key(), root.certificate, now=now, ttl=HOUR)
        assert caught.value.kind is Kind.UNAVAILABLE


def test_what_was_signed_is_compared_with_its_draft() -> None:
    """Every field of it, and who signed it."""
    root, other = (new_authority()[0].current.x509 for _ in range(2))
    draft = drafted(root)
    signed = root.sign_authority(draft)
    check_authority(signed, draft, root.certificate)
    wrong = {
        "serial": replace(draft, serial=draft.serial ^ 1),
        "public key": replace(draft, public_key=new_key().public_key()),
        "life": replace(draft, not_after=draft.not_after - SECOND),
        "name": replace(draft, trust_domain=OTHER_TD),
    }
    for what, changed in wrong.items():
        with pytest.raises(RingfenceError, match=what):
            check_authority(signed, changed, root.certificate)
    with pytest.raises(RingfenceError, match="issuer"):
        check_authority(signed, draft, other.certificate)
    with pytest.raises(RingfenceError, match="signature"):
        check_authority(signed[:-1] + bytes([signed[-1] ^ 1]), draft, root.certificate)
    with pytest.raises(RingfenceError, match="form"):
        check_authority(b"nothing", draft, root.certificate)
