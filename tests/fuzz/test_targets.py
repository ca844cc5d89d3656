"""Whatever anybody wrote: a value or a RingfenceError, nothing else, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

LONGEST = 2.0  # seconds of this process's time, for an input of some kilobytes
_NASTY = (
    b"",
    b"\x00",
    b"\xff",
    b'"',
    b"[" * 400,
    b"{",
    b"9" * 400,
    b"\\u0000",
    b"\\ud800",
    b"%2f",
    b"../",
    b"&a [*a]",
    b": ",
)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good input with a few places changed, cut, doubled, or replaced by what has broken other parsers."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(st.sampled_from(_NASTY) | st.binary(max_size=8) | st.just(data[start:end] * 2))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.filterwarnings("ignore")  # of cryptography, about certificates that bend the rules
@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_a_value_or_an_error_of_ours(name: str) -> None:
    """Noise, and good input that was damaged."""
    target = TARGETS[name]

    @settings(max_examples=60)
    @given(st.binary(max_size=200) | mutated(target.seeds))
    def check(data: bytes) -> None:
        started = time.process_time()
        target.try_(data)
        assert time.process_time() - started < LONGEST

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_what_others_are_made_from_is_good(name: str) -> None:
    """A seed that is refused at its first byte would lead nowhere."""
    for seed in TARGETS[name].seeds:
        if (name, seed) not in REFUSED:
            TARGETS[name].read(seed)


@pytest.mark.parametrize("name", ["bundle", "bundle-map", "entries", "spire-dump", "jwt-claims", "intent", "access"])
def test_depth_and_length_are_bounded(name: str) -> None:
    """A megabyte of brackets, quotes or digits is refused soon."""
    for piece in (b"[", b'{"a":', b'"', b"9", b"&a *a ", b"- "):
        started = time.process_time()
        TARGETS[name].try_(piece * (1_000_000 // len(piece)))
        assert time.process_time() - started < 4 * LONGEST


REFUSED = {
    ("spiffe-id", b"spiffe://example.org/a/../b"),
    ("wit", TARGETS["wit"].seeds[0]),  # a JWT-SVID: everything is right but its type
    ("possession", TARGETS["possession"].seeds[0]),  # nobody vouches
}
