"""What is wrong with intent documents: one finding a cause, each with a stable code, a place and a next step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from ringfence.policy.code import ERROR
from ringfence.policy.codes import CODES
from ringfence.policy.model import Origin
from ringfence.policy.threats import references


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at; any with the level `error` keeps the whole set from being used."""

    code: str
    level: str
    path: str
    line: int
    column: int
    message: str
    hint: str
    threats: tuple[str, ...] = ()  # what it is a sign of, by our own id and those of others

    @property
    def where(self) -> str:
        """`file:line:column`."""
        return f"{self.path}:{self.line}:{self.column}"

    def __str__(self) -> str:
        signs = f" [{' '.join(self.threats)}]" if self.threats else ""
        return f"{self.where}: {self.level} {self.code}: {self.message}. {self.hint}{signs}"


@dataclass(slots=True)
class Findings:
    """Collects findings while documents are read."""

    found: list[Finding] = field(default_factory=list)

    def add(self, code: str, origin: Origin, message: str, hint: str = "") -> None:
        """Notes *message*; the hint is the code's own fix unless a better one is known."""
        known = CODES[code]
        place = (origin.path, origin.line, origin.column)
        self.found.append(Finding(code, known.level, *place, message, hint or known.fix, references(known.threat)))

    @property
    def failed(self) -> bool:
        """Whether any error was found."""
        return any(f.level == ERROR for f in self.found)

    def in_order(self) -> tuple[Finding, ...]:
        """Everything found, each once, by file and place."""
        return tuple(sorted(set(self.found), key=lambda f: (f.path, f.line, f.column, f.code, f.message)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or what there is to choose from, or nothing when that would be too much."""
    choices = sorted(known)
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(choices)}" if 0 < len(choices) <= 12 else ""  # noqa: PLR2004 - what fits on a line
