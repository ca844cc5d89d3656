"""What one stream wants of one resource type, what it holds, and what it said of what it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.quarantine import Quarantine, Refusals, named_in
from ringfence.xds.snapshot import Resource, Snapshot

EVERYTHING = "*"
MOST_NAMES = 20_000  # of one type on one stream
_OUTSTANDING = 64  # responses without a verdict that are remembered beside those whose verdict decides something


@dataclass(frozen=True, slots=True)
class Nack:
    """A client refused a response: `names` are what is kept back for it, or all there was where nobody is to blame."""

    type_url: str
    version: str
    names: frozenset[str]
    detail: str


@dataclass(slots=True)
class Subscription:
    """The state of one type on one stream."""

    started: bool = False  # a request came
    everything: bool = False
    names: set[str] = field(default_factory=set)  # named by the client, whether they exist or not
    held: dict[str, Resource] = field(default_factory=dict)  # as sent; without bytes when it brought what is no more
    before: dict[str, Resource] = field(default_factory=dict)  # what it accepted, of names that it was sent anew since
    fresh: set[str] = field(default_factory=set)  # names of what it was sent and never accepted in any version
    nonce: str = ""  # of the last response
    version: str = ""  # last acknowledged
    nack: Nack | None = None  # the last refusal, until nothing that was refused is to be sent any more
    quarantine: Quarantine = field(default_factory=Quarantine)
    kept: Mapping[str, Resource] = field(default_factory=dict)  # by name, what it accepted on an earlier stream
    owes: bool = False  # a refusal took others along, which are to be sent again
    alone: bool = False  # one by one, since nobody knows which it was
    unanswered: dict[str, tuple[str, tuple[Resource, ...]]] = field(default_factory=dict)  # nonce: version, resources
    current: str = ""  # type version of the snapshot that this was last brought up to

    def wanted(self, snapshot: Snapshot, type_url: str) -> Mapping[str, Resource]:
        """The resources of *snapshot* that this subscription covers; what it refused, as it accepted it before."""
        named = snapshot.named(type_url)
        if not self.everything:
            named = {name: named[name] for name in sorted(self.names) if name in named}
        return {name: good for name, one in named.items() if (good := self._good(one))} if self.quarantine else named

    def accepted(self, name: str) -> Resource | None:
        """What the client has accepted last of that name, and so has still."""
        return None if name in self.fresh else self.before.get(name, self.held.get(name))

    def refusals(self) -> Refusals | None:
        """What its next stream is to know; None where it refuses nothing."""
        if not self.quarantine:
            return None
        had = {name: self._had(name) for name in self.quarantine.names}
        return Refusals(dict(self.quarantine.refused), {name: one for name, one in had.items() if one and one.any})

    def resume(self, type_url: str, before: Refusals) -> None:
        """Know what the same client refused on an earlier stream: it is not tried again as long as it is the same."""
        self.quarantine.refused |= before.refused
        self.kept = before.good
        self.nack = Nack(type_url, "", self.quarantine.names, self.quarantine.told())

    def _had(self, name: str) -> Resource | None:
        """What it has of that name, with the bytes if anybody knows them."""
        accepted = self.accepted(name)
        return accepted if accepted is not None and accepted.any else self.kept.get(name, accepted)

    def told(self) -> list[tuple[Resource, str]]:
        """What it was sent by name, with what it said: `accepted`, `sent` while it is silent, or `refused`."""
        pending = self._pending()
        held = [(one, "sent" if name in pending else "accepted") for name, one in sorted(self.held.items())]
        return held + [(Resource(name, version, b""), "refused") for name, version in sorted(self.quarantine.refused)]

    def check_size(self, type_url: str) -> None:
        """Raise EXHAUSTED when a client names more resources than any proxy of ours has."""
        if len(self.names) > MOST_NAMES:
            raise RingfenceError(Kind.EXHAUSTED, f"a stream may name {MOST_NAMES} resources of {type_url}, not more")

    def forget_unwanted(self) -> None:
        """Drop what the client no longer wants: it drops it too, and must get it again when it asks again."""
        if not self.everything:
            self.held = {name: held for name, held in self.held.items() if name in self.names}
            self.before = {name: held for name, held in self.before.items() if name in self.names}
            self.fresh &= self.names
            if self.nack is not None and not self.quarantine and self.names.isdisjoint(self.nack.names):
                self.nack = None  # nothing of what was refused, and has no known culprit, will be tried again

    def changed(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Names whose content is not what the client was last sent, or has."""
        return {
            name for name, new in wanted.items() if (old := self.held.get(name)) is None or old.version != new.version
        }

    def renewed(self, named: Mapping[str, Resource]) -> set[str]:
        """Names that it refused and that *named*, the newest snapshot, has otherwise or no more: told for sure."""
        released = self.quarantine.release(named) if self.quarantine else set()
        if released and self.nack is not None:
            left = replace(self.nack, names=self.quarantine.names, detail=self.quarantine.told())
            self.nack = left if self.quarantine else None
        return released

    def gone(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Names that the client holds and that exist no more."""
        return self.held.keys() - wanted.keys()

    def sent(self, nonce: str, version: str, resources: Iterable[Resource]) -> None:
        """Note a response on its way; its verdict will come with the nonce."""
        chosen = tuple(resources)
        for resource in chosen:
            old = self.held.get(resource.name)
            if old is None:
                self.fresh.add(resource.name)
            elif resource.name not in self.fresh and old.version != resource.version:
                self.before.setdefault(resource.name, old)
            self.held[resource.name] = resource
        self.nonce = nonce
        self.unanswered[nonce] = (version, chosen)
        if len(self.unanswered) > _OUTSTANDING + len(self.held) // max(1, len(chosen)):
            self._forget_overtaken()

    def lost(self, names: Iterable[str]) -> None:
        """Note that the client was told that these exist no more."""
        for name in names:
            self.held.pop(name, None)
            self.before.pop(name, None)
            self.fresh.discard(name)

    def accept(self, nonce: str, *, is_single: bool = False) -> bool:
        """Note an ACK; false when that response had its verdict already or is none of ours.

        Of a type that *is_single*, what was refused stays refused when the same bytes are accepted, under way again.
        """
        if nonce not in self.unanswered:
            return False
        self.version, resources = self.unanswered.pop(nonce)
        pending = self._pending()
        for resource in resources:
            if resource.name not in self.held:
                continue  # it was dropped since
            if is_single and self.quarantine.holds(resource):
                if resource.name not in pending:
                    self._restore(resource.name)
                continue
            self.fresh.discard(resource.name)
            if resource.name in pending:
                self.before[resource.name] = resource
            else:
                self.before.pop(resource.name, None)
        if not self.unanswered:  # thousands of streams rest: what was emptied gives its memory back
            self.before, self.fresh = self.before or {}, self.fresh or set()
            self.nack = self.nack if self.quarantine else None
        return True

    def refuse(
        self, type_url: str, nonce: str, detail: str, *, is_whole: bool = False, is_single: bool = False
    ) -> Nack | None:
        """Note a NACK and return it; None when that response had its verdict already or is none of ours.

        Whom it names is kept back, and the others are owed; where it names nobody, each is tried alone, or, in a
        response that *is_whole*, all that it had not accepted before are kept back. Where responses are *is_single*,
        what it had is owed too, or Envoy's next stream and listener go by what it refused.
        """
        if nonce not in self.unanswered:
            return None
        version, resources = self.unanswered.pop(nonce)
        # 1. What it accepted before cannot be to blame; what it refused before is, if it was under way again.
        suspects = [one for one in resources if self._is_news(one) and not self.quarantine.holds(one)]
        explained = any(map(self.quarantine.holds, resources))
        found = named_in(detail, suspects)
        if not found and not explained and (is_whole or len(suspects) == 1):
            found = suspects
        self.quarantine.add(found, detail)
        # 2. It has still what it had, but for names whose newest response is yet to be answered.
        for name in {one.name for one in resources} - self._pending():
            if not (is_single and (had := self.accepted(name)) and had.any):
                self._restore(name)
        self.owes, self.alone = self.owes or bool(suspects), self.alone or not (found or explained)
        known = found or explained
        names = self.quarantine.names | frozenset(() if known else (one.name for one in resources))
        self.nack = Nack(type_url, version, names, self.quarantine.told("" if known else detail))
        return self.nack

    def holds(self, named: Mapping[str, Resource]) -> bool:
        """Whether the client acknowledged every one of these, and nothing is on its way or refused."""
        if self.unanswered or self.nack is not None:
            return False
        return all(name in self.held and self.held[name].version == new.version for name, new in named.items())

    def _good(self, newest: Resource) -> Resource | None:
        return self._had(newest.name) if self.quarantine.holds(newest) else newest

    def _is_news(self, resource: Resource) -> bool:
        known = self.accepted(resource.name)
        return known is None or known.version != resource.version

    def _pending(self) -> set[str]:
        """Names in responses that are not answered yet."""
        return {one.name for _, resources in self.unanswered.values() for one in resources}

    def _forget_overtaken(self) -> None:
        """Drop responses whose verdict decides nothing: a client that never answers costs no more.

        The first of each content that is held stays: whether the client accepts that is not known without it.
        """
        known: set[str] = set()
        for nonce, (_, resources) in list(self.unanswered.items()):
            named = {one.name: one for one in resources}
            if news := named.keys() - self.changed(named) - known:
                known |= news
            else:
                del self.unanswered[nonce]

    def _restore(self, name: str) -> None:
        """What it refused of that name is as if it had not been sent."""
        if name in self.fresh:
            self.lost([name])
        elif name in self.before:
            self.held[name] = self.before.pop(name)
