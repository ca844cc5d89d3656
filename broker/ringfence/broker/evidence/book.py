"""What a decision is joined to: the rule as it was written in the revision that the proxy judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """Where one meaning of a rule was written, by whom, and why."""

    path: str  # file as the operator named it
    line: int  # from 1
    revision: str  # the first revision of the intent that held this meaning
    author: str
    commit: str
    owner: str
    reason: str


class RuleBook(Protocol):
    """Every meaning that any applied rule ever had, by (id, hash): the store keeps it for every apply."""

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:
        """The facts of `RULE-ID@HASH`; None for one that was never applied here."""

    @property
    def revision(self) -> str:
        """The revision of the intent in force: what a named default is reported with; empty before the first."""
