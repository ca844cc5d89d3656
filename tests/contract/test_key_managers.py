"""What every key manager does: each implementation runs the same suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.keys.pkcs11 import Pkcs11Keys
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.disk import DiskKeys
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.keys.port import KeyManager
from tests.tokens import LABEL, PIN, new_owner, softhsm

_MAKERS: dict[str, Callable[[Path], KeyManager]] = {
    "memory": lambda _: MemoryKeys(),
    "disk": lambda folder: DiskKeys(folder / "keys"),
    "disk, encrypted": lambda folder: DiskKeys(folder / "keys", b"correct horse"),
    "pkcs11": lambda _: Pkcs11Keys(softhsm().module, LABEL, PIN.encode(), owner=new_owner()),
}


@pytest.fixture(params=_MAKERS)
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyManager]:
    """A new, empty key manager of each kind."""
    made = _MAKERS[request.param](tmp_path)
    yield made
    if isinstance(made, Pkcs11Keys):
        made.close()


def test_a_generated_key_signs(keys: KeyManager) -> None:
    """The signature is ECDSA over SHA-256 in DER, by a P-256 key whose public half was handed out."""
    public_key = keys.generate("a")
    assert public_key.curve.name == "secp256r1"
    assert keys.public_key("a") == public_key
    public_key.verify(keys.sign("a", b"data"), b"data", ec.ECDSA(hashes.SHA256()))


def test_keys_are_kept_apart(keys: KeyManager) -> None:
    """Each name has a key of its own."""
    first, _ = keys.generate("a"), keys.generate("b")
    with pytest.raises(InvalidSignature):
        first.verify(keys.sign("b", b"data"), b"data", ec.ECDSA(hashes.SHA256()))
    assert keys.key_ids() == {"a", "b"}


def test_a_name_is_not_used_twice(keys: KeyManager) -> None:
    """Generating again neither replaces the key nor gives it back."""
    public_key = keys.generate("a")
    with pytest.raises(RingfenceError) as caught:
        keys.generate("a")
    assert caught.value.kind is Kind.CONFLICT
    assert keys.public_key("a") == public_key


def test_unknown_names_are_not_found(keys: KeyManager) -> None:
    """Signing, reading and deleting alike."""
    for call in (keys.public_key, keys.delete, lambda key_id: keys.sign(key_id, b"")):
        with pytest.raises(RingfenceError) as caught:
            call("a")
        assert caught.value.kind is Kind.NOT_FOUND


def test_a_deleted_key_is_gone(keys: KeyManager) -> None:
    """Its name may then be used again, for another key."""
    before = keys.generate("a")
    keys.delete("a")
    assert keys.key_ids() == frozenset()
    assert keys.generate("a") != before


@pytest.mark.parametrize("key_id", ["", ".hidden", "../up", "a/b", "a\n", "a" * 129, "a b", "ä"])
def test_what_cannot_be_a_file_name_is_no_key_name(keys: KeyManager, key_id: str) -> None:
    """A name becomes a path in some managers, so all of them refuse the same names."""
    with pytest.raises(RingfenceError) as caught:
        keys.generate(key_id)
    assert caught.value.kind is Kind.INVALID


def test_its_repr_shows_no_key(keys: KeyManager) -> None:
    """A manager may be logged."""
    keys.generate("a")
    assert "with 1 keys" in repr(keys)
    assert "PRIVATE" not in repr(keys)
