"""What is right in form but worth a look: warnings over the whole set."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime

from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.evaluate import in_force
from ringfence.policy.findings import Findings
from ringfence.policy.model import Rule, Workload
from ringfence.policy.references import Names
from ringfence.policy.scope import narrowest


def lint(
    names: Names,
    rules: Iterable[Rule],
    now: datetime | None,
    findings: Findings,
    known: Container[TrustDomain] | None = None,
) -> None:
    """Notes expired rules (where *now* is known), unused workloads, shared matches and workloads without any.

    And rules for callers of a trust domain that is not among the *known*, where those are known.
    """
    rules = tuple(rules)
    if known is not None:
        _lint_foreign(names, rules, known, findings)
    for rule in rules:
        if now is not None and rule.expires is not None and not in_force(rule, now):
            findings.add("RF1301", rule.origin, f"{rule.id} expired at {rule.expires.isoformat()}")
    same: dict[frozenset[Selector], Workload] = {}
    for workload in names.workloads.values():
        _lint_workload(workload, names, rules, findings)
        for alternative in {frozenset(one) for one in workload.match}:
            other = same.setdefault(alternative, workload)
            if other is not workload:
                findings.add("RF1303", workload.origin, f"{workload.key} and {other.key} match the same processes")


def _lint_foreign(names: Names, rules: Iterable[Rule], known: Container[TrustDomain], findings: Findings) -> None:
    for rule in rules:
        for domain in sorted({d for source in rule.sources if (d := source.foreign(names.mesh.trust_domain))}):
            if domain not in known:
                findings.add("RF1305", rule.origin, f"there is no bundle of {domain}, which {rule.id} speaks of")


def _lint_workload(workload: Workload, names: Names, rules: tuple[Rule, ...], findings: Findings) -> None:
    if not workload.match and not workload.launch:
        findings.add("RF1304", workload.origin, f"nothing can become {workload.key}")
    used = any(
        narrowest(rule, workload.identity, names.mesh.trust_domain) is not None
        or any(destination.key == workload.key for destination in rule.destinations)
        for rule in rules
    )
    if not used and not findings.failed:  # a rule that could not be read may name it
        findings.add("RF1302", workload.origin, f"no rule names {workload.key}")
