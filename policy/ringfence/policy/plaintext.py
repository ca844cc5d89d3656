"""Ports that for a while also take callers without mutual TLS: a way into the mesh, off by default, and with an end.

Such a caller has no identity. It is never among the sources of a rule, so that nothing that asks who calls can mean it
by accident: a rule means it in a field of its own, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ringfence.policy.findings import Findings

if TYPE_CHECKING:
    from ringfence.policy.model import Origin, Port, Rule, Workload

PLAINTEXT = "plaintext"  # what such a caller is called where the name of a caller is wanted


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Until when a port takes such callers, who answers for that, and why."""

    until: datetime
    owner: str
    reason: str
    cidrs: tuple[str, ...]  # where they connect from; empty: anywhere
    origin: Origin = field(compare=False)

    def in_force(self, now: datetime) -> bool:
        """Whether it holds: from its end on it is as if it were not there."""
        return now < self.until

    def meaning(self) -> list[object]:
        """Everything about it but where it was written, as JSON has it; the time in microseconds."""
        return [int(self.until.timestamp() * 1_000_000), self.owner, self.reason, list(self.cidrs)]


def taken_at(port: Port, now: datetime) -> Plaintext | None:
    """The setting that is in force at *port*; None where it takes no such callers."""
    found = port.plaintext
    return found if found is not None and found.in_force(now) else None


def lint_plaintext(
    workloads: Iterable[Workload], rules: Iterable[Rule], now: datetime | None, findings: Findings
) -> None:
    """Notes each port that takes such callers, each where that has ended, and each rule that means them in vain."""
    taking: set[tuple[str, str]] = set()
    for workload in workloads:
        for port in workload.serves:
            if port.plaintext is None:
                continue
            taking.add((workload.key, port.name))
            ended = now is not None and not port.plaintext.in_force(now)
            _note(workload, port.name, port.plaintext, findings, ended=ended)
    for rule in rules:
        for at in rule.destinations if rule.plaintext is not None else ():
            if (at.key, at.port) not in taking:
                what = f"{rule.id} means callers without an identity, and {at.key} takes none on port {at.port!r}"
                findings.add("RF1311", rule.origin, what)


def _note(workload: Workload, port: str, found: Plaintext, findings: Findings, *, ended: bool) -> None:
    end = found.until.isoformat()
    if ended:
        findings.add("RF1310", found.origin, f"{workload.key} takes no plaintext on port {port!r} since {end}")
        return
    where = " or ".join(found.cidrs) or "anywhere"
    what = f"{workload.key} takes callers without an identity from {where} on port {port!r} until {end}"
    findings.add("RF1309", found.origin, f"{what}: {found.owner} answers for it")
