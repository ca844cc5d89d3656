"""Rules by whom they mean and by where they lead, made from those of the model before and what came and went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.identities import Identity
from ringfence.policy.model import Rule, Workload

# As a Source: a workload's identity, or a namespace, or neither; callers of another trust domain are nobody's proxies.
Reach = tuple[Identity | None, str | None, TrustDomain | None]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class RuleIndex:
    """The rules into each workload or external host, by its key, and those from each reach; in no order."""

    into: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    reaching: Mapping[Reach, tuple[Rule, ...]] = field(default_factory=dict)

    def after(self, gone: Iterable[Rule], come: Iterable[Rule]) -> RuleIndex:
        """The index without the objects of *gone*, and with *come*; what neither touches is shared."""
        gone, come = tuple(gone), tuple(come)
        return RuleIndex(_patched(self.into, gone, come, keys_of), _patched(self.reaching, gone, come, reaches_of))

    def outward(self, workload: Workload) -> list[Rule]:
        """The rules that mean *workload* as a caller; one that means it in several ways comes as often."""
        return [rule for reach in reaches_to(workload) for rule in self.reaching.get(reach, ())]


def keys_of(rule: Rule) -> set[str]:
    """Where it leads."""
    return {destination.key for destination in rule.destinations}


def reaches_of(rule: Rule) -> set[Reach]:
    """Whom it means."""
    return {(source.identity, source.namespace, source.trust_domain) for source in rule.sources}


def reaches_to(workload: Workload) -> tuple[Reach, ...]:
    """By which of them a rule means *workload*."""
    return (workload.identity, None, None), (None, workload.namespace, None), (None, None, None)


def _patched(
    before: Mapping[K, tuple[Rule, ...]], gone: tuple[Rule, ...], come: tuple[Rule, ...], keys: Callable[[Rule], set[K]]
) -> dict[K, tuple[Rule, ...]]:
    """*before* in which the lists of the touched keys are new ones."""
    added: defaultdict[K, list[Rule]] = defaultdict(list)
    for rule in come:
        for key in keys(rule):
            added[key].append(rule)
    left = {id(rule) for rule in gone}
    patched = dict(before)
    for key in {*added, *(key for rule in gone for key in keys(rule))}:
        patched[key] = (*(rule for rule in before.get(key, ()) if id(rule) not in left), *added.get(key, ()))
        if not patched[key]:
            del patched[key]
    return patched
