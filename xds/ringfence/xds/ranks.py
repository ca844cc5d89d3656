"""The ranks of a job as a regular expression that whole names match: all of them, or all but some."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ringfence.certs.selectors import MAX_RANK
from ringfence.policy.identities import Ranks
from ringfence.policy.model import RevokedCaller

_DIGITS = "0123456789"
_LONGEST = len(str(MAX_RANK))
_NOTHING = r"[^\s\S]"


def pattern(ranks: Ranks, but: Collection[str] = ()) -> str:
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
    if not any(number.startswith(begun) for number in but):
        return f"[0-9]{{0,{more}}}" if more else ""
    ways = [""] if begun and begun not in but else []
    further = ((digit, _rest(begun + digit, but)) for digit in (_DIGITS if more else ""))
    ways += [digit + rest for digit, rest in further if rest is not None]
    return f"(?:{'|'.join(ways)})" if ways else None
