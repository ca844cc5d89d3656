"""One generation of an authority."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.leaf_check import check_leaf
from ringfence.certs.profile import LeafDraft, draft_leaf
from ringfence.certs.slot import JwtAuthority, X509Authority
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.material import HOUR, NOW, OTHER_TD, TD, TRAINER, new_authority, new_key


class SwappedKeys(MemoryKeys):
    """A key manager that signs with a key nobody asked for."""

    def sign(self, key_id: str, data: bytes) -> bytes:
        """A valid signature by the wrong key."""
        other = MemoryKeys()
        other.generate(key_id)
        return other.sign(key_id, data)


def test_a_root_is_of_its_trust_domain_and_of_one_generation() -> None:
    """Its URI is the trust domain, its subject differs from every other root's, its key signs certificates only."""
    keys = MemoryKeys()
    first, second = (X509Authority.create(TD, keys, now=NOW, ttl=24 * HOUR) for _ in range(2))
    assert first.certificate.subject != second.certificate.subject
    assert first.subject_key_id != second.subject_key_id
    extensions = first.certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org"]
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert first.not_before == (NOW - timedelta(seconds=10)).replace(microsecond=0)
    assert first.not_after == (NOW + 24 * HOUR).replace(microsecond=0)


def test_a_root_whose_key_manager_signs_with_another_key_is_never_made() -> None:
    """It is proven before anyone hears of it."""
    with pytest.raises(RingfenceError, match="does not verify under its own key"):
        X509Authority.create(TD, SwappedKeys(), now=NOW, ttl=HOUR)


def test_a_draft_is_checked_before_it_is_signed() -> None:
    """The signing slot itself refuses what must not be signed, whoever calls it."""
    authority, _ = new_authority()
    other, _ = new_authority(OTHER_TD)
    foreign = other.draft_x509(SpiffeId(OTHER_TD, "/x"), new_key().public_key(), now=NOW, ttl=HOUR)
    with pytest.raises(RingfenceError, match="not of the trust domain"):
        authority.current.x509.sign(foreign)


def test_what_was_signed_is_checked_before_it_leaves() -> None:
    """A key manager that goes wrong later hands out nothing either."""
    authority, keys = new_authority()
    draft = authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    root = authority.current.x509
    keys.delete(root.key_id)
    keys.generate(root.key_id)
    with pytest.raises(RingfenceError, match="signature does not verify"):
        root.sign(draft)


class FaultyKeys(MemoryKeys):
    """A key manager that counts its signatures; those numbered in `faulty` are not over what was to be signed."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.faulty: set[int] = set()

    def sign(self, key_id: str, data: bytes) -> bytes:
        """A signature by the right key, now and then over other bytes."""
        self.made += 1
        return super().sign(key_id, data[:-1] if self.made in self.faulty else data)


def _drafts(root: X509Authority, count: int) -> list[LeafDraft]:
    return [
        draft_leaf(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR, issuer_not_after=root.not_after)
        for _ in range(count)
    ]


def test_of_a_batch_every_certificate_is_checked() -> None:
    """Faults among good signatures are found, each, and cost the others nothing."""
    keys = FaultyKeys()
    root = X509Authority.create(TD, keys, now=NOW, ttl=HOUR)
    keys.faulty = {keys.made + 2, keys.made + 5}
    drafts = _drafts(root, 5)
    made = root.sign_all(drafts)
    assert [isinstance(one, bytes) for one in made] == [True, False, True, True, False]
    assert all("does not verify" in one.detail for one in made if isinstance(one, RingfenceError))
    for draft, signed in zip(drafts, made, strict=True):
        if isinstance(signed, bytes):
            check_leaf(signed, draft, root.certificate)


def test_a_draft_that_is_refused_is_not_signed_at_all() -> None:
    """In a batch too the key manager sees only what was checked."""
    keys = FaultyKeys()
    root = X509Authority.create(TD, keys, now=NOW, ttl=HOUR)
    before, (bad, good) = keys.made, _drafts(root, 2)
    refused, signed = root.sign_all([replace(bad, spiffe_id=SpiffeId(OTHER_TD, "/x")), good])
    assert isinstance(refused, RingfenceError)
    assert isinstance(signed, bytes)
    assert keys.made == before + 1


def test_x509_and_jwt_keys_are_never_the_same() -> None:
    """The first generation has two keys, and they live equally long."""
    authority, keys = new_authority()
    slot = authority.current
    assert len(slot.key_ids) == 2
    assert keys.key_ids() == slot.key_ids
    assert slot.jwt.public_key != slot.x509.certificate.public_key()
    assert (slot.jwt.not_before, slot.jwt.not_after) == (slot.x509.not_before, slot.x509.not_after)


def test_no_two_jwt_keys_share_a_kid() -> None:
    """32 random alphanumerics, as SPIRE has them."""
    keys = MemoryKeys()
    kids = {JwtAuthority.create(keys, not_before=NOW, not_after=NOW + HOUR).kid for _ in range(50)}
    assert len(kids) == 50
    assert all(len(kid) == 32 and kid.isalnum() for kid in kids)


def test_a_root_shows_what_it_is_and_no_key() -> None:
    """Its repr names domain, identifier and end."""
    authority, _ = new_authority()
    assert repr(authority.current.x509).startswith("<X509Authority ")
    assert "example.org until 2026-11-25T12:00:00Z" in repr(authority.current.x509)
