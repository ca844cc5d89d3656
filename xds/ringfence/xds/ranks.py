"""The ranks of a job as a regular expression that whole names match: all of them, or all but some."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from ringfence.certs.selectors import MAX_RANK
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.identities import Ranks

_DIGITS = "0123456789"
_LONGEST = len(str(MAX_RANK))
_NOTHING = r"[^\s\S]"


@lru_cache(maxsize=256)
def pattern(ranks: Ranks, but: frozenset[str] = frozenset()) -> str:
    """What the SPIFFE ID of each rank matches, and nothing else does (RE2); of *but*, some of them, none."""
    if not but:
        return ranks.pattern
    rest = _rest("", {name.removeprefix(ranks.prefix) for name in but})
    return re.escape(ranks.prefix) + (rest or _NOTHING)


def gone(ranks: Ranks, revoked: Mapping[str, RevokedCaller]) -> frozenset[str]:
    """The SPIFFE IDs of *ranks* that are *revoked* as a whole; *revoked* holds no others that begin as they do."""
    return frozenset(name for name, one in revoked.items() if one.whole and name.startswith(ranks.prefix))


def _rest(begun: str, but: Collection[str]) -> str | None:
    """How a number that has *begun* so may go on to be a rank, and none of *but*; None where it may not."""
    more = 0 if begun == "0" else _LONGEST - len(begun)
    left_out = [number for number in but if number.startswith(begun)]
    if not left_out:
        return f"[0-9]{{0,{more}}}" if more else ""
    ways: dict[str, str] = {}  # which digits there are to go on with, by what follows them
    for digit in _DIGITS if more else "":
        if (rest := _rest(begun + digit, left_out)) is not None:
            ways[rest] = ways.get(rest, "") + digit
    found = [f"[{digits}]{rest}" for rest, digits in ways.items()]
    if begun and begun not in left_out:
        found.insert(0, "")
    return f"(?:{'|'.join(found)})" if found else None
