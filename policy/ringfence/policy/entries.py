"""What the model registers: which facts about a process give it which identity, and who may vouch for launches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId
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


@dataclass(frozen=True, slots=True)
class LaunchRule:
    """Who may vouch that a process tree is this workload: a launcher with all selectors of one alternative."""

    namespace: str
    name: str
    by: tuple[tuple[Selector, ...], ...]


def entries_of(model: Model) -> tuple[EntryDraft, ...]:
    """One entry for each alternative of each workload's match, and one for its launch; sorted, each once."""
    drafts = {
        EntryDraft(w.spiffe_id, selectors, w.x509_ttl, w.jwt_ttl, w.dns_names, w.key)
        for w in model.workloads.values()
        for selectors in _alternatives(w)
    }
    return tuple(sorted(drafts, key=lambda draft: (draft.origin, draft.selectors)))


def launch_rules_of(model: Model) -> tuple[LaunchRule, ...]:
    """The launch rules of every workload that may be launched, sorted by its key."""
    launched = (w for _, w in sorted(model.workloads.items()) if w.launch)
    return tuple(LaunchRule(w.namespace, w.name, w.launch) for w in launched)


def _alternatives(workload: Workload) -> tuple[tuple[Selector, ...], ...]:
    if not workload.launch:
        return workload.match
    vouched = (Selector("launch", f"name:{workload.name}"), Selector("launch", f"namespace:{workload.namespace}"))
    return (*workload.match, vouched)
