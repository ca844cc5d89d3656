"""Tests of when a handshake begins: in order, few at once, and never kept from it by those that say nothing more."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.proto.lane.gate import Gate

_LONG = 3_600.0


class _One:
    """Notes that it has begun."""

    def __init__(self, name: str, begun: list[str], *, fails: bool = False) -> None:
        self._name = name
        self._begun = begun
        self._fails = fails

    def begin(self) -> None:
        self._begun.append(self._name)
        if self._fails:
            raise RuntimeError(self._name)


async def _until(begun: list[str], wanted: list[str]) -> None:
    async with asyncio.timeout(30):
        while begun != wanted:  # noqa: ASYNC110 - what is tested is the loop's turns
            await asyncio.sleep(0)


async def test_as_many_as_may_begin_in_the_order_in_which_they_asked() -> None:
    """The third begins when one of the first two is through, not before."""
    begun: list[str] = []
    gate = Gate(at_once=2, young_seconds=_LONG)
    first, second, third = (_One(name, begun) for name in "abc")
    for one in (first, second, third):
        gate.ask(one)
    await _until(begun, ["a", "b"])
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == ["a", "b"]
    gate.over(second)
    await _until(begun, ["a", "b", "c"])


async def test_those_that_say_one_word_and_nothing_else_keep_nobody_out() -> None:
    """What is no longer young does not count, though it is never over."""
    begun: list[str] = []
    gate = Gate(at_once=1, young_seconds=0.01)
    for name in "abc":
        gate.ask(_One(name, begun))
    await _until(begun, ["a", "b", "c"])


async def test_one_that_fails_concerns_no_other() -> None:
    """The loop hears of it, and the next one begins."""
    begun: list[str] = []
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
    gate = Gate()
    gate.ask(_One("a", begun, fails=True))
    gate.ask(_One("b", begun))
    await _until(begun, ["a", "b"])
    assert [str(error) for error in heard] == ["a"]


@pytest.mark.parametrize("at_once", [1, 64])
async def test_many_all_get_through(at_once: int) -> None:
    """Each that is over lets the next one in."""
    begun: list[str] = []
    gate = Gate(at_once=at_once, young_seconds=_LONG)

    class Quick(_One):
        def begin(self) -> None:
            super().begin()
            gate.over(self)

    names = [str(number) for number in range(1_000)]
    for name in names:
        gate.ask(Quick(name, begun))
    await _until(begun, names)
