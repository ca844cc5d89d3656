"""The kernel's counters of TCP as `nstat` prints them, as a table or as JSON (`-j`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import MAX_FACTS, from_json, lines, whole

_COUNTER = re.compile(r"([A-Za-z][A-Za-z0-9_]{1,64})\s+([0-9]{1,20})(?:\s+\S{1,32})?\s*")


@dataclass(frozen=True, slots=True)
class Nstat:
    """Counters by name, read from *path*, with the line of each; JSON has them all on line 1."""

    path: str
    counters: Mapping[str, int]
    lines: Mapping[str, int]


def nstat(text: str, path: str) -> Nstat:
    """The counters in *text* from *path*."""
    told = from_json(text) if text.lstrip()[:1] == "{" else None
    rows = _of_json(told) if isinstance(told, dict) else _of_table(text)
    known = rows[:MAX_FACTS]
    return Nstat(
        path,
        MappingProxyType({name: value for name, value, _ in known}),
        MappingProxyType({name: line for name, _, line in known}),
    )


def _of_json(told: dict[str, object]) -> list[tuple[str, int, int]]:
    kernel = told.get("kernel")
    pairs = kernel.items() if isinstance(kernel, dict) else ()
    return [(name, number, 1) for name, value in pairs if (number := whole(value)) is not None]


def _of_table(text: str) -> list[tuple[str, int, int]]:
    found = ((number, _COUNTER.fullmatch(line)) for number, line in lines(text))
    return [(match.group(1), int(match.group(2)), number) for number, match in found if match]
