"""Steps over a batch."""

from __future__ import annotations

import pytest

from ringfence.certs.attempt import attempt, each, only
from ringfence.certs.errors import Kind, RingfenceError


def _half(number: int) -> int:
    if number % 2:
        raise RingfenceError(Kind.INVALID, f"{number} is odd")
    return number // 2


def test_what_is_refused_keeps_its_place_and_its_words() -> None:
    """The second step is taken by those that passed the first, and by no others."""
    first, second, third, fourth = each(_half, each(_half, [8, 3, 6, 4]))
    assert (first, fourth) == (2, 1)
    assert [str(second), str(third)] == ["3 is odd", "3 is odd"]
    assert second is not third


def test_a_refusal_is_an_answer_and_anything_else_a_fault() -> None:
    """What no step foresaw is not taken for a refusal."""
    assert isinstance(attempt(_half, 1), RingfenceError)
    with pytest.raises(TypeError):
        attempt(_half, "x")  # type: ignore[arg-type]


def test_a_batch_of_one_gives_its_item_or_raises_why_not() -> None:
    """Nothing that was refused is taken for what was made."""
    assert only(each(_half, [4])) == 2
    with pytest.raises(RingfenceError, match="5 is odd"):
        only(each(_half, [5]))
