"""What differs between two models, by names that the scope of a workload knows what it was made of by.

Things are told apart as objects: two models share what is the same in both, places in files included. What is shared
by none is only looked at anew.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TypeVar

from ringfence.broker.fleet.rule_index import keys_of, reaches_of
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.identities import Identity, Ranks, named_by
from ringfence.policy.model import Model, Rule, Workload
from ringfence.policy.scope import source_prefix
from ringfence.policy.wildcard import suffixes

Name = Hashable  # the key of a workload or external host, a reach of rules, or a pair of a kind and a text
K = TypeVar("K")
T = TypeVar("T")

_NAMED = frozenset({"workloads", "externals", "rules", "traffic", "issuers", "revoked"})
_IN_NO_SCOPE = frozenset({"revision", "fabrics", "fabric_grants"})  # no proxy stands in a fabric


def named_in(
    before: Model, after: Model, rules: Iterable[Rule], by_id: Mapping[Identity, Workload]
) -> frozenset[Name] | None:
    """The names of all that differs; None when something does that every scope is made of.

    *rules* are those that differ, and *by_id* has the workloads of *after*.
    """
    others = (field.name for field in fields(Model) if field.name not in _NAMED | _IN_NO_SCOPE)
    if any(getattr(before, name) != getattr(after, name) for name in others):
        return None
    names: set[Name] = set()
    for rule in rules:
        names |= {into(key) for key in keys_of(rule)} | reaches_of(rule)
    names |= {thing.key for thing in _either(before.workloads, after.workloads)}
    outside = list(_either(before.externals, after.externals))
    names |= {thing.key for thing in outside} | {below(end) for thing in outside for end in suffixes(thing.host)}
    names |= {traffic.destination.key for traffic in _either(before.traffic, after.traffic)}
    names |= {issuer(one.key) for one in _either(before.issuers, after.issuers)}
    for name in _revoked_anew(before, after):
        names |= set(_names_of_caller(name, by_id))
    return frozenset(names)


def apart(before: Collection[T], after: Collection[T]) -> tuple[list[T], list[T]]:
    """The objects of *before* that are not in *after*, and the other way round."""
    had, has = set(map(id, before)), set(map(id, after))
    if had == has:
        return [], []
    return [one for one in before if id(one) not in has], [one for one in after if id(one) not in had]


def into(key: str) -> Name:
    """The rules into what has that key."""
    return "into", key


def below(suffix: str) -> Name:
    """The hosts outside that own a name of a star before *suffix*."""
    return "below", suffix


def issuer(key: str) -> Name:
    """An issuer of tokens."""
    return "issuer", key


def callers_of(rules: Iterable[Rule], own: TrustDomain) -> set[Name]:
    """Whoever *rules* mean as a caller, as far as they may be revoked."""
    return {("caller", _caller(source, own)) for rule in rules for source in rule.sources}


def _caller(source: Source, own: TrustDomain) -> str:
    if isinstance(source.identity, Ranks):
        return source.identity.prefix
    return str(source.identity) if source.identity is not None else source_prefix(source, own)


def _names_of_caller(name: str, by_id: Mapping[Identity, Workload]) -> Iterator[Name]:
    """How scopes know the SPIFFE ID *name*: as a caller, by each prefix that a source may have, and as one called."""
    yield "caller", name
    yield from (("caller", name[: at + 1]) for at, letter in enumerate(name) if letter == "/")
    known = named_by(by_id, SpiffeId.parse(name))
    if known is not None:
        yield known.key


def _revoked_anew(before: Model, after: Model) -> Iterator[str]:
    """Who is revoked otherwise, or until another time."""
    old, new = before.revoked, after.revoked
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        if was != now or (was is not None and now is not None and was.ends != now.ends):
            yield name


def _either(before: Mapping[K, T], after: Mapping[K, T]) -> Iterator[T]:
    gone, come = apart(before.values(), after.values())
    yield from gone
    yield from come
