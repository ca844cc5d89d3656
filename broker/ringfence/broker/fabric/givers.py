"""Which of the identities that grants name an agent may give, told from an index that follows the registry."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.broker.entry import Entry
from ringfence.broker.registry import Registry
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.spiffe_id import SpiffeId

Spelled = str  # one SPIFFE ID, or with a star at its end all that begin so, see Leave.spelled


class Givers:
    """Holds entries of granted identities alone, by parent: there may be many more of others."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._granted: frozenset[Spelled] = frozenset()
        self._revision = -1
        self._places: dict[str, tuple[SpiffeId, frozenset[Spelled]]] = {}  # of each entry by id
        self._by_parent: dict[SpiffeId, dict[Spelled, int]] = {}  # how many entries give it

    def follow(self, granted: frozenset[Spelled]) -> None:
        """Know who may give each of *granted*, as the registry is now."""
        registry = self._registry
        touched = registry.touched(self._revision) if granted == self._granted else None
        self._granted = granted
        if touched is None:
            self._places.clear()
            self._by_parent.clear()
            for entry in registry.every() if granted else ():
                self._put(entry)
        else:
            for entry_id in touched if granted else ():
                self._drop(entry_id)
                if (now := registry.get(entry_id)) is not None:
                    self._put(now)
        self._revision = registry.revision

    def of(self, agent: SpiffeId) -> frozenset[Spelled]:
        """Those that *agent* may give, in part or whole."""
        return frozenset(
            spelled for parent in self._registry.parents(agent) for spelled in self._by_parent.get(parent, ())
        )

    def _put(self, entry: Entry) -> None:
        given = frozenset(self._given(entry))
        if not given:
            return
        self._places[entry.id] = entry.parent_id, given
        counts = self._by_parent.setdefault(entry.parent_id, {})
        for spelled in given:
            counts[spelled] = counts.get(spelled, 0) + 1

    def _drop(self, entry_id: str) -> None:
        parent, given = self._places.pop(entry_id, (None, frozenset[Spelled]()))
        if parent is None:
            return
        counts = self._by_parent[parent]
        for spelled in given:
            counts[spelled] -= 1
            if not counts[spelled]:
                del counts[spelled]

    def _given(self, entry: Entry) -> Iterator[Spelled]:
        if entry.template:
            yield from (spelled for spelled in self._granted if _may_make(entry, spelled))
            return
        name = str(entry.spiffe_id)
        for spelled in self._granted:
            if name == spelled or (spelled.endswith("*") and name.startswith(spelled[:-1])):
                yield spelled


def _may_make(rule: Entry, spelled: Spelled) -> bool:
    """Whether the template of *rule* makes that identity, or one that begins so."""
    domain = str(rule.spiffe_id)
    if not spelled.endswith("*"):
        path = spelled.removeprefix(domain)
        return spelled.startswith(f"{domain}/") and PathTemplate.parse(rule.template).selectors(path) is not None
    head, beginning = rule.name.partition("{")[0], spelled[:-1]
    return head.startswith(beginning) or beginning.startswith(head)
