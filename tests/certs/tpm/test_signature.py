"""Signatures of TPMs: by the key, over the data, of the key's own kind."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.names import Alg
from ringfence.certs.tpm.reader import number, sized
from ringfence.certs.tpm.signature import MAX_SIGNATURE, verify
from tests.certs.material import new_key
from tests.certs.tpm.paper import signature

KEY, RSA = new_key(), rsa.generate_private_key(65537, 2048)
GOOD = signature(KEY, b"data")


def _refusal(key: Any, data: bytes, signed: bytes = b"data") -> str:
    with pytest.raises(RingfenceError) as caught:
        verify(key.public_key(), data, signed, "the signature")
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.detail


@pytest.mark.parametrize(
    ("key", "scheme"), [(KEY, Alg.ECDSA), (RSA, Alg.RSASSA), (RSA, Alg.RSAPSS)], ids=["ECDSA", "RSASSA", "RSAPSS"]
)
def test_a_keys_own_signature_is_taken_and_anothers_is_not(key: Any, scheme: Alg) -> None:
    """By each scheme; of another key, or over other data, it is refused."""
    verify(key.public_key(), signature(key, b"data", scheme=scheme), b"data", "it")
    other = new_key() if key is KEY else rsa.generate_private_key(65537, 2048)
    assert "not by the key" in _refusal(other, signature(key, b"data", scheme=scheme))
    assert "not by the key" in _refusal(key, signature(key, b"data", scheme=scheme), b"other")


@pytest.mark.parametrize(
    ("key", "data", "says"),
    [
        (KEY, signature(RSA, b"data"), "scheme is not the key's"),
        (RSA, GOOD, "scheme is not the key's"),
        (KEY, number(Alg.ECDSA, 2) + b"\x00\x04" + GOOD[4:], "not by SHA-256"),
        (KEY, b"\x00\x1a" + GOOD[2:], "scheme is not the key's"),  # ECDAA
        (KEY, GOOD + b"\0", "more follows"),
        (RSA, signature(RSA, b"data") + b"\0", "more follows"),
        (KEY, GOOD[:-1], "too early"),
        (KEY, number(Alg.ECDSA, 2) + number(Alg.SHA256, 2) + sized(b"") + sized(b""), "not by the key"),
        (KEY, bytes(MAX_SIGNATURE + 1), "more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes are others in each process of tests
)
def test_what_is_no_signature_of_that_kind_is_refused(key: Any, data: bytes, says: str) -> None:
    """Another kind of key's, a weak hash, one that goes on after its end."""
    assert says in _refusal(key, data)


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    """In words."""
    _refusal(KEY, data)
    _refusal(KEY, GOOD[:4] + data)
