"""Public areas: what is read of them, and whatever else comes is refused in words."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.names import Alg, Attribute
from ringfence.certs.tpm.public import MAX_PUBLIC, PublicArea
from ringfence.certs.tpm.reader import number, sized
from tests.certs.material import new_key
from tests.certs.tpm.paper import AES128, DEVID, NULL, area

KEY = new_key()
RSA = rsa.generate_private_key(65537, 2048)
GOOD = area(KEY, DEVID)


def _refusal(data: bytes) -> str:
    with pytest.raises(RingfenceError) as caught:
        PublicArea.parse(data, "the area")
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert caught.value.detail.startswith("the area cannot be taken: ")
    return caught.value.detail


@pytest.mark.parametrize(
    "key",
    [KEY, ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1()), RSA],
    ids=["P-256", "P-384", "P-521", "RSA"],
)
def test_an_area_is_the_key_and_what_it_may_do(key: Any) -> None:
    """For each kind of key that attestations have."""
    found = PublicArea.parse(area(key, DEVID, symmetric=AES128), "the area")
    assert found.key == key.public_key()
    assert found.has(Attribute.SIGN, Attribute.FIXED_TPM)
    assert not found.has(Attribute.SIGN, Attribute.RESTRICTED)
    assert found.symmetric == (Alg.AES, 128, Alg.CFB)


def test_a_name_is_the_hash_of_the_whole_area() -> None:
    """By the area's own hash, whose number comes first (Part 1, 16)."""
    assert PublicArea.parse(GOOD, "it").name == b"\x00\x0b" + hashlib.sha256(GOOD).digest()
    longer = area(KEY, DEVID, name_hash=Alg.SHA384)
    assert PublicArea.parse(longer, "it").name == b"\x00\x0c" + hashlib.sha384(longer).digest()


@pytest.mark.parametrize(
    ("kind", "scheme", "hashed"),
    [(RSA, Alg.RSASSA, Alg.SHA256), (RSA, Alg.RSAES, None), (KEY, Alg.ECDSA, Alg.SHA384), (KEY, Alg.NULL, None)],
)
def test_a_scheme_is_read_with_its_hash(kind: Any, scheme: Alg, hashed: Alg | None) -> None:
    """Where the scheme has one."""
    written = number(scheme, 2) + (number(hashed, 2) if hashed else b"")
    found = PublicArea.parse(area(kind, DEVID, scheme=written), "it")
    assert (found.scheme, found.scheme_hash) == (scheme, hashed or 0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "too early"),
        (GOOD[:-1], "too early"),
        (GOOD + b"\0", "more follows"),
        (b"\x00\x08" + GOOD[2:], "neither RSA nor"),  # a keyed hash
        (area(KEY, DEVID, name_hash=0x0004), "name is not made by"),  # SHA-1
        (area(KEY, DEVID, scheme=number(Alg.RSASSA, 2) + number(Alg.SHA256, 2)), "scheme"),
        (GOOD.replace(b"\x00\x03" + NULL, b"\x00\x01" + NULL), "curve"),
        (GOOD.replace(b"\x00\x03" + NULL, b"\x00\x03\x00\x20\x00\x0b"), "derivation"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "key is none"),  # a point off the curve
        (GOOD[:-68] + sized(b"") + sized(b""), "key is none"),
        (GOOD[:-68] + sized(b"\0" + GOOD[-66:-34]) + GOOD[-34:], "key is none"),
        (GOOD[:-34] + sized(b"\0" + GOOD[-32:]), "key is none"),
        (b"\0" * (MAX_PUBLIC + 1), "more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes are others in each process of tests
)
def test_what_is_no_area_of_a_key_is_refused(data: bytes, says: str) -> None:
    """UNAUTHENTICATED, naming what it should have been."""
    assert says in _refusal(data)


def _rsa(bits: int, exponent: int, modulus: bytes) -> bytes:
    head = number(Alg.RSA, 2) + number(Alg.SHA256, 2) + number(DEVID, 4) + sized(b"") + NULL + NULL
    return head + number(bits, 2) + number(exponent, 4) + sized(modulus)


@pytest.mark.parametrize(
    ("bits", "exponent", "modulus", "says"),
    [
        (1024, 0, b"\xff" * 128, "2048 to 4096"),
        (8192, 0, b"\xff" * 900, "2048 to 4096"),
        (2048, 0, b"\xff" * 257, "2048 to 4096"),
        (2048, 65539, b"\xff" * 256, "2048 to 4096"),
        (2048, 2, b"\xff" * 256, "key is none"),
        (2048, 0, b"\0" + b"\xff" * 255, "key is none"),
        (2048, 0, b"\xff" * 255 + b"\xfe", "key is none"),
    ],
)
def test_an_rsa_key_is_bounded_before_it_costs_anything(bits: int, exponent: int, modulus: bytes, says: str) -> None:
    """Its size is what it says, and its exponent is one that verifies fast."""
    assert says in _refusal(_rsa(bits, exponent, modulus)[:MAX_PUBLIC])


@given(
    st.binary(max_size=300) | st.integers(0, len(GOOD)).flatmap(lambda n: st.just(GOOD[:n] + b"\xff" + GOOD[n + 1 :]))
)
def test_anything_is_an_area_or_refused(data: bytes) -> None:
    """Nothing else comes out, and what comes out is what was put in."""
    with suppress(RingfenceError):
        assert PublicArea.parse(data, "it").encoded == data
