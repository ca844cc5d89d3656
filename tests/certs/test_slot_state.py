"""A generation written down and read back."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringfence.certs import slot_state
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from tests.certs.material import NOW, new_authority


@pytest.mark.parametrize(
    "change",
    [
        {"trust_domain": "Example.org/"},
        {"x509": None},
        {"x509": {}},
        {"jwt": {"current": None, "next": None, "old": [], "tainted": []}},
        {"jwt": 7},
        {"x509": {"current": {"certificate": "AAAA"}, "next": None, "old": [], "tainted": []}},
        {"ca_ttl_seconds": "a day"},
    ],
)
def test_a_damaged_state_is_an_error_of_ours(change: dict[str, Any]) -> None:
    """Whatever is wrong with it, the operator reads what to do, not a traceback."""
    authority, keys = new_authority()
    with pytest.raises(RingfenceError) as caught:
        Authority.from_state({**authority.to_state(), **change}, keys)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint


def test_a_state_without_its_keys_is_refused() -> None:
    """Starting without the signing keys would fail at the first SVID: it fails at once instead."""
    authority, _ = new_authority()
    with pytest.raises(RingfenceError, match="holds no key") as caught:
        Authority.from_state(authority.to_state(), MemoryKeys())
    assert caught.value.kind is Kind.NOT_FOUND


def test_a_state_with_other_keys_is_refused() -> None:
    """Keys under the right names but of another authority would sign what nobody accepts."""
    authority, _ = new_authority()
    others = MemoryKeys()
    for key_id in authority.current.key_ids:
        others.generate(key_id)
    with pytest.raises(RingfenceError, match="not the key of the stored authority"):
        Authority.from_state(authority.to_state(), others)


def test_retired_generations_need_no_keys() -> None:
    """Only their certificates are still published."""
    authority, keys = new_authority()
    authority.prepare(NOW)
    authority.activate(NOW)
    authority.prune(NOW)
    assert len(Authority.from_state(authority.to_state(), keys).x509.old) == 1


def test_a_jwt_key_of_another_kind_is_refused() -> None:
    """Our tokens are ES256: a stored RSA key is damage."""
    authority, keys = new_authority()
    key = rsa.generate_private_key(65537, 2048).public_key()
    state = authority.to_state()
    state["jwt"]["current"]["public_key"] = slot_state.base64.b64encode(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    with pytest.raises(RingfenceError, match="cannot be read"):
        Authority.from_state(state, keys)


def test_wit_keys_are_kept_over_a_restart_and_asked_for() -> None:
    """The line reads back as it was; a state that says nothing of it has none."""
    authority, keys = new_authority(wit=True)
    authority.prepare(NOW)
    state = authority.to_state()
    again = Authority.from_state(state, keys)
    assert again.bundle(1) == authority.bundle(1)
    assert again.wit_key() == authority.wit_key()
    assert Authority.from_state({name: value for name, value in state.items() if name != "wit"}, keys).wit is None
    keys.delete(authority.wit_key().key_id)
    with pytest.raises(RingfenceError, match="holds no key"):
        Authority.from_state(state, keys)
