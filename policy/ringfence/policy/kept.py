"""A model that shares with the one before what did not change, so that whoever compares the two is quick."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from ringfence.policy.model import Model, Origin

K = TypeVar("K", bound=Hashable)


class _Written(Protocol):
    @property
    def origin(self) -> Origin: ...


T = TypeVar("T", bound=_Written)


def kept(model: Model, before: Model) -> Model:
    """*model*, in which the objects of *before* stand for equal ones that are written in the same place."""
    rules = {rule.id: rule for rule in before.rules}
    return replace(
        model,
        rules=tuple(_same(rules.get(rule.id), rule) for rule in model.rules),
        workloads=_shared(model.workloads, before.workloads),
        externals=_shared(model.externals, before.externals),
        traffic=_shared(model.traffic, before.traffic),
        issuers=_shared(model.issuers, before.issuers),
        fabrics=_shared(model.fabrics, before.fabrics),
        fabric_grants=_shared(model.fabric_grants, before.fabric_grants),
    )


def _shared(now: Mapping[K, T], before: Mapping[K, T]) -> Mapping[K, T]:
    return MappingProxyType({key: _same(before.get(key), one) for key, one in now.items()})


def _same(old: T | None, new: T) -> T:
    return old if old is not None and old == new and old.origin == new.origin else new
