"""What the model registers: which facts about a process give it which identity, and who may vouch for launches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.model import Model, Workload


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """A registration entry to be: a process with all of `selectors` gets `spiffe_id`."""

    spiffe_id: SpiffeId
    selectors: tuple[Selector, ...]
    x509_ttl: timedelta
    jwt_ttl: timedelta
    dns_names: tuple[str, ...]
    origin: str  # key of the workload
    federates_with: tuple[TrustDomain, ...] = ()  # whose callers some rule at its ports speaks of, sorted


@dataclass(frozen=True, slots=True)
class LaunchRule:
    """Who may vouch that a process tree is this workload: a launcher with all selectors of one alternative."""

    namespace: str
    name: str
    by: tuple[tuple[Selector, ...], ...]


def entries_of(model: Model) -> tuple[EntryDraft, ...]:
    """One entry for each alternative of each workload's match, and one for its launch; sorted, each once."""
    foreign = _foreign_callers(model)
    drafts = {
        EntryDraft(w.spiffe_id, selectors, w.x509_ttl, w.jwt_ttl, w.dns_names, w.key, tuple(sorted(foreign[w.key])))
        for w in model.workloads.values()
        for selectors in _alternatives(w)
    }
    return tuple(sorted(drafts, key=lambda draft: (draft.origin, draft.selectors)))


def launch_rules_of(model: Model) -> tuple[LaunchRule, ...]:
    """The launch rules of every workload that may be launched, sorted by its key."""
    launched = (w for _, w in sorted(model.workloads.items()) if w.launch)
    return tuple(LaunchRule(w.namespace, w.name, w.launch) for w in launched)


def _foreign_callers(model: Model) -> Mapping[str, set[TrustDomain]]:
    """By workload, the other trust domains whose callers a rule lets in or holds off: its proxy needs their bundles."""
    found: defaultdict[str, set[TrustDomain]] = defaultdict(set)
    for rule in model.rules:
        domains = {source.foreign(model.mesh.trust_domain) for source in rule.sources} - {None}
        for destination in rule.destinations if domains else ():
            found[destination.key] |= {domain for domain in domains if domain is not None}
    return found


def _alternatives(workload: Workload) -> tuple[tuple[Selector, ...], ...]:
    if not workload.launch:
        return workload.match
    vouched = (Selector("launch", f"name:{workload.name}"), Selector("launch", f"namespace:{workload.namespace}"))
    return (*workload.match, vouched)
