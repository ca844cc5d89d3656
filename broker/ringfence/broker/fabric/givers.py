"""Which of the identities that grants name an agent may give, told from an index that follows the registry."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.broker.entry import SERVER_PATH, Entry
from ringfence.broker.registry import Registry
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.spiffe_id import SpiffeId

Spelled = str  # one SPIFFE ID, or with a star at its end all that begin so, see Leave.spelled


class Givers:
    """Holds entries of granted identities alone, by parent: there may be many more of others."""

    def __init__(self, registry: Registry) -> None:
        self.granted: frozenset[Spelled] = frozenset()
        self.version = 0  # another one when who may give what may be different
        self._registry = registry
        self._revision = -1
        self._aliases: set[str] = set()  # entries that say whose entries a node may ask for
        self._places: dict[str, tuple[SpiffeId, frozenset[Spelled]]] = {}  # of each entry by id
        self._by_parent: dict[SpiffeId, dict[Spelled, int]] = {}  # how many entries give it

    def follow(self, granted: frozenset[Spelled]) -> int:
        """Know who may give each of *granted*, as the registry is now; the version."""
        registry = self._registry
        if registry.revision == self._revision and granted == self.granted:
            return self.version
        touched = registry.touched(self._revision) if granted == self.granted else None
        self.granted, self._revision = granted, registry.revision
        if touched is None:
            self._places.clear()
            self._by_parent.clear()
            self._aliases.clear()
            self.version += 1
            for entry in registry.every():
                self._put(entry)
        elif sum(self._move(entry_id) for entry_id in touched):
            self.version += 1
        return self.version

    def of(self, agent: SpiffeId) -> frozenset[Spelled]:
        """Those that *agent* may give, in part or whole."""
        return frozenset(
            spelled for parent in self._registry.parents(agent) for spelled in self._by_parent.get(parent, ())
        )

    def _move(self, entry_id: str) -> bool:
        """Take in what became of an entry; whether that concerns anybody here."""
        concerned = self._drop(entry_id)
        entry = self._registry.get(entry_id)
        return (entry is not None and self._put(entry)) or concerned

    def _put(self, entry: Entry) -> bool:
        if entry.parent_id.path == SERVER_PATH:
            self._aliases.add(entry.id)
            return True
        given = frozenset(self._given(entry))
        if not given:
            return False
        self._places[entry.id] = entry.parent_id, given
        counts = self._by_parent.setdefault(entry.parent_id, {})
        for spelled in given:
            counts[spelled] = counts.get(spelled, 0) + 1
        return True

    def _drop(self, entry_id: str) -> bool:
        if entry_id in self._aliases:
            self._aliases.discard(entry_id)
            return True
        place = self._places.pop(entry_id, None)
        if place is None:
            return False
        counts = self._by_parent[place[0]]
        for spelled in place[1]:
            counts[spelled] -= 1
            if not counts[spelled]:
                del counts[spelled]
        return True

    def _given(self, entry: Entry) -> Iterator[Spelled]:
        if entry.template:
            yield from (spelled for spelled in self.granted if _may_make(entry, spelled))
            return
        name = str(entry.spiffe_id)
        for spelled in self.granted:
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
