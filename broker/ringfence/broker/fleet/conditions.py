"""The status of each intent document: how many of the proxies that it concerns hold it, and which refuse it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from ringfence.broker.fleet.proxy import SYNCED, Proxy
from ringfence.broker.fleet.refusal import origins
from ringfence.broker.fleet.scope import Scope
from ringfence.policy.model import Origin

if TYPE_CHECKING:
    from ringfence.policy.load import LoadedDocument


class State(Enum):
    """What a document has come to."""

    APPLIED = "Applied"  # on every proxy that it concerns
    PENDING = "Pending"  # some have not said so yet
    REFUSED = "Refused"  # some go on with what it said before, or without it
    UNUSED = "Unused"  # it concerns no proxy that is connected


@dataclass(slots=True)
class Condition:
    """How it stands with one document."""

    document: LoadedDocument
    proxies: int = 0  # that it concerns
    applied: int = 0
    refused: dict[str, str] = field(default_factory=dict)  # by node, in the words of the document

    @property
    def state(self) -> State:
        """The worst of what there is."""
        if self.refused:
            return State.REFUSED
        if not self.proxies:
            return State.UNUSED
        return State.APPLIED if self.applied == self.proxies else State.PENDING


def conditions(documents: Iterable[LoadedDocument], proxies: Iterable[Proxy]) -> list[Condition]:
    """A condition for each of *documents*, those in force, in their order."""
    found = {str(document): Condition(document) for document in documents}
    for proxy in proxies:
        if proxy.scope is None:
            continue
        concerned = [found[name] for name in sorted(concerning(proxy.scope) & found.keys())]
        blamed = origins(proxy.stream.nacks.values(), proxy.scope)
        for condition in concerned:
            _count(condition, proxy, blamed)
    return list(found.values())


def concerning(scope: Scope) -> set[str]:
    """The documents that a proxy is compiled from, as LoadedDocument names them."""
    model = scope.model
    rules = {f"{kind} {rule.id}" for rule in model.rules for kind in ("Allow", "Deny")}
    return {
        "Mesh mesh",
        *rules,
        *(f"Workload {key}" for key in model.workloads),
        *(f"External {key}" for key in model.externals),
        *(f"Traffic {each.key}" for each in model.traffic.values()),
        *(f"TokenIssuer {key}" for key in model.issuers),
    }


def _count(condition: Condition, proxy: Proxy, blamed: frozenset[Origin]) -> None:
    """One proxy more. One that refuses something has all the rest, if what it refuses is known and it has answered."""
    condition.proxies += 1
    if condition.document.origin in blamed:
        condition.refused[proxy.instance.node_id] = proxy.refusal
    elif proxy.state == SYNCED or (blamed and proxy.stream.failure is None and proxy.stream.rests()):
        condition.applied += 1
