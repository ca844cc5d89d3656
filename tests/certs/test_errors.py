"""What an error says."""

from __future__ import annotations

import pytest

from ringfence.certs.errors import Kind, RingfenceError


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        ("", "", "it failed"),
        ("a.yaml:3", "", "a.yaml:3: it failed"),
        ("", "Do this", "it failed. Do this"),
        ("a.yaml:3:1", "Do this", "a.yaml:3:1: it failed. Do this"),
    ],
)
def test_an_error_reads_where_what_and_next_step(where: str, hint: str, text: str) -> None:
    """In that order, and only what is known."""
    assert str(RingfenceError(Kind.INVALID, "it failed", where=where, hint=hint)) == text
