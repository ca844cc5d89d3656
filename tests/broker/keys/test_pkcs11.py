"""PKCS#11 keys, on SoftHSM; what every key manager does is in tests/contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringfence.broker.keys.pkcs11 import Pkcs11Keys, _point
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.svid import verify_peer
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_key
from tests.tokens import LABEL, PIN, new_owner, softhsm

ECDSA = ec.ECDSA(hashes.SHA256())


@pytest.fixture
def keys() -> Iterator[Pkcs11Keys]:
    """A manager with no keys, whose login ends with the test."""
    manager = Pkcs11Keys(softhsm().module, LABEL, PIN.encode(), owner=new_owner())
    yield manager
    manager.close()


def again(keys: Pkcs11Keys, owner: str | None = None) -> Pkcs11Keys:
    """The same keys, as a restarted server finds them."""
    return Pkcs11Keys(softhsm().module, LABEL, PIN.encode(), owner=owner or keys._prefix.split("-")[1])


def test_keys_outlive_the_process(keys: Pkcs11Keys) -> None:
    """They are objects of the token, not of the session."""
    public = keys.generate("a")
    keys.close()
    later = again(keys)
    assert later.key_ids() == {"a"}
    public.verify(later.sign("a", b"data"), b"data", ECDSA)
    later.close()


def test_a_key_never_leaves_the_token(keys: Pkcs11Keys) -> None:
    """The token itself says so: sensitive, not extractable, and its value is not given."""
    keys.generate("a")
    private = keys._keys["a"]
    assert private[pkcs11.Attribute.SENSITIVE]
    assert not private[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.exceptions.AttributeSensitive):
        private[pkcs11.Attribute.VALUE]


def test_servers_that_share_a_token_do_not_see_each_others_keys(keys: Pkcs11Keys) -> None:
    """Or the first to prune would delete what another signs with."""
    keys.generate("x509-a")
    other = again(keys, new_owner())
    assert other.key_ids() == frozenset()
    Authority.create(TD, other, now=NOW).prune(NOW)
    other.close()
    later = again(keys)
    assert later.key_ids() == {"x509-a"}
    later.close()


def test_a_session_that_the_token_forgot_is_opened_again(keys: Pkcs11Keys) -> None:
    """A token that was reset costs one more login, no restart; for every call that asks the token."""
    public = keys.generate("a")
    keys._session.close()
    public.verify(keys.sign("a", b"data"), b"data", ECDSA)
    keys._session.close()
    keys.generate("b")
    keys._session.close()
    keys.delete("a")
    assert keys.key_ids() == {"b"}


def test_an_authority_lives_in_a_token(keys: Pkcs11Keys) -> None:
    """It signs SVIDs and tokens that verify, rotates, and is the same after a restart."""
    authority = Authority.create(TD, keys, now=NOW)
    authority.prepare(NOW)
    authority.activate(NOW)
    authority.prune(NOW)
    state = authority.to_state()
    keys.close()
    found = again(keys)
    later = Authority.from_state(state, found)
    chain = later.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    assert verify_peer(chain, authority.bundle(1), now=NOW) == TRAINER
    assert later.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    found.close()


def test_a_wrong_pin_is_said_without_it(keys: Pkcs11Keys) -> None:
    """And so is a token that is not there, and a module that is none."""
    keys.close()
    with pytest.raises(RingfenceError, match="does not take the PIN") as caught:
        Pkcs11Keys(softhsm().module, LABEL, b"0000999", owner="a")
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert "0000999" not in str(caught.value) + caught.value.hint
    with pytest.raises(RingfenceError, match="not one token 'nowhere'") as caught:
        Pkcs11Keys(softhsm().module, "nowhere", PIN.encode(), owner="a")
    assert caught.value.kind is Kind.INVALID
    with pytest.raises(RingfenceError, match="is no PKCS#11 module") as caught:
        Pkcs11Keys(Path(__file__), LABEL, PIN.encode(), owner="a")
    assert caught.value.kind is Kind.INVALID
    with pytest.raises(RingfenceError, match="not ASCII"):
        Pkcs11Keys(softhsm().module, LABEL, b"\xff7391", owner="a")


def test_its_repr_shows_no_pin(keys: Pkcs11Keys) -> None:
    """A manager may be logged."""
    assert PIN not in repr(keys)


@pytest.mark.parametrize("owner", ["", "a-b", "A", "../x"])
def test_a_damaged_owner_is_refused(owner: str) -> None:
    """It is part of every label; an empty one would meet the keys of all."""
    with pytest.raises(RingfenceError, match="names nobody"):
        Pkcs11Keys(softhsm().module, LABEL, PIN.encode(), owner=owner)


def test_points_are_read_wrapped_and_bare() -> None:
    """Tokens differ in how they give CKA_EC_POINT."""
    public = new_key().public_key()
    bare = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert _point(bare) == _point(b"\x04\x41" + bare) == public
