"""What a reader of some namespaces is shown of an answer: lists are cut to what it may see, never refused for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ringfence.broker.access.namespaces import namespace_named
from ringfence.broker.access.rights import Rights
from ringfence.certs.errors import Kind, RingfenceError

Names = Callable[[Any], tuple[str, ...]]


def _of_itself(item: Any) -> tuple[str, ...]:
    return (item.spiffe_id,)


def _of_both_ends(decision: Any) -> tuple[str, ...]:
    return decision.source, decision.destination


def _of_document(status: Any) -> tuple[str, ...]:
    return (status.document.partition(" ")[2],)  # after its kind


def _of_reason(reason: Any) -> tuple[str, ...]:
    return reason.identity.spiffe_id, reason.entry.spiffe_id


# The lists in each answer, and the names of an item of it: one of them in a namespace of the reader's is enough.
LISTS: Mapping[str, Mapping[str, Names]] = {
    "ListEntries": {"entries": _of_itself},
    "ListIdentities": {"identities": _of_itself},
    "ListDepartures": {"departures": _of_itself},
    "ShowPolicy": {"documents": _of_document},
    "ListProxies": {"proxies": _of_itself},
    "ShowProxies": {"proxies": _of_itself},
    "WatchProxies": {"late": _of_itself},
    "ListFabricMembers": {"members": _of_itself},
    "ListRevocations": {"identities": _of_itself, "certificates": _of_itself},
    "ExplainIdentity": {"reasons": _of_reason},
    "ExplainAuthz": {"decisions": _of_both_ends},
}
# Calls whose answers are items themselves.
ITEMS: Mapping[str, Names] = {"TailAuthz": _of_both_ends, "CheckAuthz": _of_both_ends}


def visible(names: Iterable[str], rights: Rights) -> bool:
    """Whether one of *names* is of a namespace that may be seen."""
    return rights.sees_all or any(rights.sees(namespace_named(name)) for name in names if name)


def shown(method: str, answer: Any, rights: Rights) -> Any:
    """What is shown of *answer*: all, less, or None; raises NOT_FOUND for an explanation of which nothing is left."""
    # 1. Who sees everything sees it as it is.
    if rights.sees_all:
        return answer
    # 2. An item is shown or not.
    if method in ITEMS:
        return answer if visible(ITEMS[method](answer), rights) else None
    # 3. Lists are cut.
    for field, names in LISTS.get(method, {}).items():
        found = getattr(answer, field)
        kept = [item for item in found if visible(names(item), rights)]
        if found and not kept and method.startswith("Explain"):
            raise RingfenceError(Kind.NOT_FOUND, "that is not known here", hint="See `ringfence access whoami`")
        if len(kept) < len(found):
            del found[:]
            found.extend(kept)
    return answer
