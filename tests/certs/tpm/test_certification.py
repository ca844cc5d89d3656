"""Certifications: a statement of TPM2_Certify, and nothing else that a TPM signs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.certification import MAX_CERTIFICATION, Certification
from tests.certs.tpm.paper import certification

GOOD = certification(b"name", b"asked")


def test_it_names_a_key_and_says_what_was_asked_to_be_said() -> None:
    """Both."""
    assert Certification.parse(GOOD) == Certification(b"name", b"asked")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (certification(b"name", b"asked", magic=0xFF544348), "no TPM made it"),
        (certification(b"name", b"asked", kind=0x8018), "not of TPM2_Certify"),  # a quote
        (certification(b"name", b"asked", kind=0x801A), "not of TPM2_Certify"),  # a creation
        (GOOD[:-1], "too early"),
        (GOOD + b"\0", "more follows"),
        (b"\0" * (MAX_CERTIFICATION + 1), "more than"),
    ],
)
def test_anything_else_that_is_signed_is_refused(data: bytes, says: str) -> None:
    """A quote, a creation, what no TPM generated, what ends early or goes on."""
    with pytest.raises(RingfenceError) as caught:
        Certification.parse(data)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert says in caught.value.detail


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_is_read_as_it_was_written(name: bytes, asked: bytes) -> None:
    """Whatever the name and what was asked."""
    assert Certification.parse(certification(name, asked)) == Certification(name, asked)


@given(st.binary(max_size=300) | st.integers(0, len(GOOD)).map(lambda n: GOOD[:n]))
def test_anything_is_one_or_refused(data: bytes) -> None:
    """Nothing else comes out."""
    with suppress(RingfenceError):
        Certification.parse(data)
