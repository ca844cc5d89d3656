"""Every registration entry in memory, fed by the change feed: what servers read and agents are pushed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ringfence.broker.bell import Bell
from ringfence.broker.entry import SERVER_PATH, Entry, any_node
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.entries import LaunchRule

_HISTORY = 10_000  # changes that an agent may be behind before it gets everything again


@dataclass(frozen=True, slots=True)
class Removed:
    """An entry that is gone."""

    id: str
    spiffe_id: SpiffeId


@dataclass(frozen=True, slots=True)
class Delta:
    """What an agent must learn to be at `revision`; `launch` None when it did not change."""

    revision: int
    full: bool
    upserts: tuple[Entry, ...]
    removed: tuple[Removed, ...]
    launch: tuple[LaunchRule, ...] | None


@dataclass(frozen=True, slots=True)
class _Past:
    revision: int
    entry: Entry | None  # None: launch rules changed


class Registry:
    """Entries by id and by parent. Not ready, and refusing to be read, until `load` was called once."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.revision = 0
        self.loaded = False
        self.launch_rules: tuple[LaunchRule, ...] = ()
        self.facts_of: Callable[[SpiffeId], frozenset[Selector]] = _nothing  # what is known of a node
        self._entries: dict[str, Entry] = {}
        self._ends: dict[str, int] = {}  # Unix seconds, of those that have one
        self._children: defaultdict[SpiffeId, dict[str, Entry]] = defaultdict(dict)
        self._aliases: dict[str, Entry] = {}  # of nodes, by entry id
        self._past: deque[_Past] = deque(maxlen=_HISTORY)
        self._floor = 0  # changes up to here are not in _past

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, entries: Iterable[Entry], revision: int) -> None:
        """Hold exactly *entries*, as they are at *revision*."""
        self._entries.clear()
        self._ends.clear()
        self._children.clear()
        self._aliases.clear()
        self._past.clear()
        for entry in entries:
            self._put(entry)
        self.revision = self._floor = revision
        self.loaded = True
        self._bell.ring()

    def follow(self, changes: Sequence[Change], entries: Mapping[str, Entry]) -> None:
        """Take *changes* in order; *entries* holds the present state of those that still exist."""
        for change in changes:
            self._take(change, entries.get(change.key))
            self.revision = change.revision
        if changes:
            self._bell.ring()

    def get(self, entry_id: str) -> Entry | None:
        """The entry with that id."""
        return self._entries.get(entry_id)

    def every(self) -> Iterable[Entry]:
        """All entries."""
        return self._entries.values()

    def ended(self, now: float) -> bool:
        """Whether the end of some entry has come."""
        return any(end <= now for end in self._ends.values())

    def entitled(self, agent: SpiffeId) -> Iterator[Entry]:
        """What *agent* may ask for: entries of its own, of every node and of its aliases."""
        for parent in self.parents(agent):
            yield from self._children.get(parent, {}).values()

    def entitled_to(self, agent: SpiffeId, entry_id: str) -> Entry | None:
        """The entry, if *agent* may ask for it."""
        entry = self._entries.get(entry_id)
        if entry is None or entry.parent_id == agent:
            return entry
        return entry if entry.parent_id in self.parents(agent) else None

    def parents(self, agent: SpiffeId) -> tuple[SpiffeId, ...]:
        """Those whose entries *agent* may ask for: every node, itself, and its aliases."""
        own = any_node(agent.trust_domain), agent
        if not self._aliases or not (facts := self.facts_of(agent)):
            return own
        aliases = {alias.spiffe_id for alias in self._aliases.values() if facts.issuperset(alias.selectors)}
        return (*own, *sorted(aliases - set(own)))

    def touched(self, since: int) -> frozenset[str] | None:
        """The ids of entries that changed after revision *since*, those that are gone too; None: any may have."""
        if since < self._oldest() or since > self.revision:
            return None
        return frozenset(past.entry.id for past in self._since(since) if past.entry is not None)

    def delta(self, agent: SpiffeId, since: int) -> Delta:
        """What *agent*, which is at revision *since* (0: knows nothing), has to learn."""
        if not since or since < self._oldest() or since > self.revision:
            return self._whole(agent)
        parents = self.parents(agent)
        touched: dict[str, Entry] = {}
        launch = False
        for past in self._since(since):
            launch = launch or past.entry is None
            if past.entry is not None and past.entry.parent_id.path == SERVER_PATH:
                return self._whole(agent)  # an alias came, went or changed: whose, nobody wrote down
            if past.entry is not None and past.entry.parent_id in parents:
                touched.setdefault(past.entry.id, past.entry)
        held = {i: self._entries.get(i) for i in reversed(touched)}
        upserts = tuple(entry for entry in held.values() if entry is not None and entry.parent_id in parents)
        given = {entry.id for entry in upserts}  # one may have moved to another node
        removed = tuple(Removed(e.id, e.spiffe_id) for e in touched.values() if e.id not in given)
        return Delta(self.revision, False, upserts, removed, self.launch_rules if launch else None)

    def _since(self, revision: int) -> Iterator[_Past]:
        """What changed after *revision*, the newest first."""
        return takewhile(lambda past: past.revision > revision, reversed(self._past))

    def _whole(self, agent: SpiffeId) -> Delta:
        return Delta(self.revision, True, tuple(self.entitled(agent)), (), self.launch_rules)

    def _take(self, change: Change, entry: Entry | None) -> None:
        if change.kind is ChangeKind.INTENT:
            self._past.append(_Past(change.revision, None))
            return
        known = self._entries.get(change.key)
        if entry is not None:
            if known is not None and known.parent_id != entry.parent_id:
                self._past.append(_Past(change.revision, known))
            self._put(entry)
        elif known is not None:
            del self._entries[known.id]
            self._ends.pop(known.id, None)
            del self._children[known.parent_id][known.id]
            self._aliases.pop(known.id, None)
        seen = entry or known
        if seen is not None:
            self._past.append(_Past(change.revision, seen))

    def _put(self, entry: Entry) -> None:
        if (known := self._entries.get(entry.id)) is not None and known.parent_id != entry.parent_id:
            del self._children[known.parent_id][known.id]
        self._entries[entry.id] = entry
        self._ends.pop(entry.id, None)
        if entry.expires_at:
            self._ends[entry.id] = entry.expires_at
        self._children[entry.parent_id][entry.id] = entry
        self._aliases.pop(entry.id, None)
        if entry.parent_id.path == SERVER_PATH:
            self._aliases[entry.id] = entry

    def _oldest(self) -> int:
        full = len(self._past) == self._past.maxlen
        return self._past[0].revision if full else self._floor


def _nothing(_: SpiffeId) -> frozenset[Selector]:
    return frozenset()
