"""What the model registers: which facts about a process give it which identity, and who may vouch for launches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Model, Workload


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """A registration entry to be: a process with all of `selectors` gets `spiffe_id`, or what fills `template`."""

    spiffe_id: SpiffeId  # of the ranks of a job that of the trust domain
    selectors: tuple[Selector, ...]
    x509_ttl: timedelta
    jwt_ttl: timedelta
    dns_names: tuple[str, ...]
    origin: str  # key of the workload
    federates_with: tuple[TrustDomain, ...] = ()  # whose callers some rule at its ports speaks of, sorted
    template: str = ""  # of the path of a rank


@dataclass(frozen=True, slots=True)
class LaunchRule:
    """Who may vouch that a process tree is this workload: a launcher with all selectors of one alternative."""

    namespace: str
    name: str
    by: tuple[tuple[Selector, ...], ...]
    job: str = ""  # of which a launcher says which rank it starts; empty: it is none


def entries_of(model: Model) -> tuple[EntryDraft, ...]:
    """One entry for each alternative of each workload's match, and one for its launch; sorted, each once."""
    foreign = _foreign_callers(model)
    drafts = {_draft(w, selectors, foreign[w.key]) for w in model.workloads.values() for selectors in _alternatives(w)}
    return tuple(sorted(drafts, key=lambda draft: (draft.origin, draft.selectors)))


def _draft(workload: Workload, selectors: tuple[Selector, ...], foreign: Iterable[TrustDomain]) -> EntryDraft:
    identity, template = workload.identity, ""
    if isinstance(identity, Ranks):
        # Who was launched has its rank from the launcher, whatever else is known of it.
        held = "launch.rank" if selectors == _vouched(workload) else f"{workload.rank}:number"
        template, identity = identity.template(held), SpiffeId(identity.trust_domain, "")
    return EntryDraft(
        identity,
        selectors,
        workload.x509_ttl,
        workload.jwt_ttl,
        workload.dns_names,
        workload.key,
        tuple(sorted(foreign)),
        template,
    )


def launch_rules_of(model: Model) -> tuple[LaunchRule, ...]:
    """The launch rules of every workload that may be launched, sorted by its key."""
    launched = (w for _, w in sorted(model.workloads.items()) if w.launch)
    return tuple(LaunchRule(w.namespace, w.name, w.launch, w.job) for w in launched)


def _foreign_callers(model: Model) -> Mapping[str, set[TrustDomain]]:
    """By workload, the other trust domains whose callers a rule lets in or holds off: its proxy needs their bundles."""
    found: defaultdict[str, set[TrustDomain]] = defaultdict(set)
    for rule in model.rules:
        domains = {source.foreign(model.mesh.trust_domain) for source in rule.sources} - {None}
        for destination in rule.destinations if domains else ():
            found[destination.key] |= {domain for domain in domains if domain is not None}
    return found


def _alternatives(workload: Workload) -> tuple[tuple[Selector, ...], ...]:
    return (*workload.match, _vouched(workload)) if workload.launch else workload.match


def _vouched(workload: Workload) -> tuple[Selector, ...]:
    return Selector("launch", f"name:{workload.name}"), Selector("launch", f"namespace:{workload.namespace}")
