"""The registration entries that this node may serve, and which of them match a set of selectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.entry import Entry
from ringfence.certs.errors import RingfenceError
from ringfence.certs.selectors import Selector

_MATCHES_KEPT = 1_024  # sets of selectors whose entries are remembered until entries change


@dataclass(frozen=True, slots=True)
class LaunchRule:
    """Who may vouch for a workload: any of the alternatives, each a set of selectors of the launcher."""

    namespace: str
    name: str
    by: tuple[frozenset[Selector], ...]
    job: str = ""  # whose ranks its processes are; empty: none

    def allows(self, selectors: frozenset[Selector]) -> bool:
        """Whether a launcher with *selectors* may; an empty alternative allows nobody."""
        return any(alternative and alternative <= selectors for alternative in self.by)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an update touched; `outdated` are entries whose SVID is to be made anew."""

    upserted: tuple[Entry, ...]
    removed: frozenset[str]
    outdated: frozenset[str]
    refused: tuple[str, ...]  # entries that this program can't read, with the reason


class EntryBook:
    """All entries of the node, indexed so that a match looks at few of them."""

    def __init__(self) -> None:
        self.revision = 0
        self.wanted: frozenset[str] = frozenset()
        self._entries: dict[str, Entry] = {}
        self._index: dict[Selector, dict[str, Entry]] = {}
        self._templates: dict[str, Entry] = {}  # rule entries
        self._facts: Counter[str] = Counter()  # how many entries ask for each
        self._ends: dict[str, int] = {}  # Unix seconds, of those that have one
        self._rules: dict[tuple[str, str], LaunchRule] = {}
        self._matched: dict[frozenset[Selector], tuple[Entry, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, entry_id: str) -> Entry | None:
        """The entry of that id, or the instance of a rule that `RULE#PATH` names."""
        rule, is_instance, path = entry_id.partition("#")
        found = self._entries.get(rule)
        return found.instance(path) if found is not None and is_instance else found

    def ids_of(self, spiffe_ids: Collection[str]) -> frozenset[str]:
        """The ids of the entries that give these SPIFFE IDs."""
        return frozenset(entry.id for entry in self._entries.values() if str(entry.spiffe_id) in spiffe_ids)

    def rule(self, namespace: str, name: str) -> LaunchRule | None:
        """Who may launch that workload."""
        return self._rules.get((namespace, name))

    def matching(self, selectors: Iterable[Selector]) -> tuple[Entry, ...]:
        """The entries whose every selector is among *selectors*: oldest first, one per SPIFFE ID and hint."""
        have = frozenset(selectors)
        known = self._matched.get(have)
        if known is None:
            if len(self._matched) >= _MATCHES_KEPT:
                self._matched.clear()
            known = self._matched[have] = self._match(have)
        return known

    def _match(self, have: frozenset[Selector]) -> tuple[Entry, ...]:
        found = [
            entry for selector in have for entry in self._index.get(selector, {}).values() if entry.selectors <= have
        ]
        found += self._instances(have)
        found.sort(key=lambda entry: (entry.created_at, entry.id))
        once = {(entry.spiffe_id, entry.hint): entry for entry in reversed(found)}
        return _in_order(once.values())

    def _instances(self, have: frozenset[Selector]) -> Iterator[Entry]:
        """What rules say of a process with those selectors; one whose template they do not fill says nothing."""
        for rule in self._templates.values():
            if rule.selectors <= have:
                with suppress(RingfenceError):
                    yield rule.instance_for(have)

    def ended(self, now: float) -> tuple[str, ...]:
        """The entries whose end has come."""
        return tuple(entry_id for entry_id, end in self._ends.items() if end <= now)

    def next_end(self) -> int | None:
        """When the next entry ends, Unix seconds."""
        return min(self._ends.values(), default=None)

    def every(self) -> Iterable[Entry]:
        """All entries, rules as they are."""
        return self._entries.values()

    def apply(self, update: agent_pb2.EntriesUpdate) -> Applied:
        """Take in a change from the server; a full one replaces everything."""
        read, refused = _read_all(update.upserts)
        before = self._entries
        self._matched.clear()
        removed = set(update.removed)
        if update.full:
            removed |= before.keys() - {entry.id for entry in read}
        outdated = {e.id for e in read if (old := before.get(e.id)) is not None and old.is_reissued_by(e)}
        for entry_id in removed:
            self._forget(entry_id)
        for entry in read:
            self._forget(entry.id)
            self._remember(entry)
        if update.launch_changed or update.full:
            self._rules = {(rule.namespace, rule.name): _rule(rule) for rule in update.launch_rules}
        self.revision = update.revision
        self.wanted = self._wanted()
        return Applied(read, frozenset(removed), frozenset(outdated), refused)

    def as_update(self) -> agent_pb2.EntriesUpdate:
        """Everything as one full update: what is kept on disk."""
        return agent_pb2.EntriesUpdate(
            revision=self.revision,
            full=True,
            upserts=[entry.write() for entry in self._entries.values()],
            launch_changed=True,
            launch_rules=[_write_rule(rule) for rule in self._rules.values()],
        )

    def _remember(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._facts.update(entry.wanted)
        if entry.expires_at:
            self._ends[entry.id] = entry.expires_at
        if entry.template is not None:
            self._templates[entry.id] = entry
            return
        self._index.setdefault(self._key(entry), {})[entry.id] = entry

    def _forget(self, entry_id: str) -> None:
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            return
        self._facts -= Counter(entry.wanted)
        self._ends.pop(entry_id, None)
        self._templates.pop(entry_id, None)
        for selector in entry.selectors:
            bucket = self._index.get(selector)
            if bucket and bucket.pop(entry_id, None) and not bucket:
                del self._index[selector]

    def _key(self, entry: Entry) -> Selector:
        """The selector to file it under: the one that fewest others are filed under."""
        return min(entry.selectors, key=lambda selector: (len(self._index.get(selector, ())), selector))

    def _wanted(self) -> frozenset[str]:
        by = [alternative for rule in self._rules.values() for alternative in rule.by]
        return frozenset(self._facts) | {f"{s.kind}:{s.value.partition(':')[0]}" for each in by for s in each}


def _in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.created_at, entry.id)))


def _read_all(messages: Iterable[agent_pb2.Entry]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    read, refused = [], []
    for message in messages:
        try:
            entry = Entry.read(message)
        except RingfenceError as error:
            refused.append(f"{message.id}: {error.detail}")
            continue
        if entry.selectors or entry.template:  # an entry without selectors would be everybody
            read.append(entry)
        else:
            refused.append(f"{message.id}: it has no selectors")
    return tuple(read), tuple(refused)


def _rule(message: agent_pb2.LaunchRule) -> LaunchRule:
    alternatives = []
    for by in message.by:
        try:
            alternatives.append(frozenset(Selector.parse(text) for text in by.selectors))
        except RingfenceError:
            continue  # an alternative that we can't read allows nobody
    return LaunchRule(message.namespace, message.name, tuple(alternatives), message.job)


def _write_rule(rule: LaunchRule) -> agent_pb2.LaunchRule:
    return agent_pb2.LaunchRule(
        namespace=rule.namespace,
        name=rule.name,
        by=[agent_pb2.SelectorSet(selectors=sorted(map(str, each))) for each in rule.by],
        job=rule.job,
    )
