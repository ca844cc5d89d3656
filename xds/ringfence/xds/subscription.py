"""What one stream wants of one resource type, what it holds, and what it said of what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, PUSH_ORDER, ROUTE, SECRET, WILDCARD

EVERYTHING = "*"
MOST_NAMES = 20_000  # of one type on one stream
_OUTSTANDING = 64  # responses without a verdict that are remembered; a client that never answers costs no more


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a stream serves and how: `ADS` for proxies, `GRPC` for libraries, `SDS` for secrets."""

    order: tuple[str, ...]  # the types served, in the order in which changes are pushed
    removals: tuple[str, ...]  # and in that of removals: what refers goes before what it refers to
    everything: frozenset[str]  # types of which a client that never named any gets all
    whole: frozenset[str] = frozenset()  # SotW types whose response is the whole state: what is missing is deleted
    held_back: frozenset[str] = frozenset()  # types that others refer to: their removals are pushed last
    # Incremental types whose named resources a reconnected client is not sent again in the version that it brings. Not
    # endpoints: a cluster that was warming when the stream broke waits for them, whatever the client holds.
    resumed: frozenset[str] = frozenset()
    says_missing: bool = False  # whether names asked for in vain are named in the answer (xRFC TP3)
    implicit: str = ""  # the type of a request that names none, on a stream that serves one
    # Called with names that a request adds and the snapshot lacks; what it raises ends the stream.
    on_missing: Callable[[str, frozenset[str]], None] | None = None


ADS = Dialect(
    order=tuple(url for url in PUSH_ORDER if url != SECRET),
    removals=(LISTENER, ROUTE, EXTENSION_CONFIG, CLUSTER, ENDPOINT),
    everything=WILDCARD,
    whole=WILDCARD,
    held_back=frozenset({CLUSTER}),
    says_missing=True,
    resumed=frozenset({CLUSTER, LISTENER, ROUTE, EXTENSION_CONFIG}),
)
# gRPC asks for every resource by its name, and knows no policies beside routes and listeners (gRFC A27).
GRPC = Dialect(
    order=tuple(url for url in ADS.order if url != EXTENSION_CONFIG),
    removals=(LISTENER, ROUTE, CLUSTER, ENDPOINT),
    everything=frozenset(),
    whole=WILDCARD,
    held_back=frozenset({CLUSTER}),
    says_missing=True,
)
SDS = Dialect(order=(SECRET,), removals=(SECRET,), everything=frozenset({SECRET}), implicit=SECRET)


@dataclass(frozen=True, slots=True)
class Nack:
    """A client refused a response, which may still be partly applied: `names` are all that were in it."""

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
    held: dict[str, Resource] = field(default_factory=dict)  # as sent; without bytes when brought from before
    nonce: str = ""  # of the last response
    version: str = ""  # last acknowledged
    nack: Nack | None = None  # the last refusal, until what it refused is accepted or gone
    refused: set[str] = field(default_factory=set)  # names in refused responses
    unanswered: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)  # nonce: version, names
    current: str = ""  # type version of the snapshot that this was last brought up to

    def wanted(self, snapshot: Snapshot, type_url: str) -> Mapping[str, Resource]:
        """The resources of *snapshot* that this subscription covers."""
        named = snapshot.named(type_url)
        if self.everything:
            return named
        return {name: named[name] for name in sorted(self.names) if name in named}

    def standing(self, name: str) -> str:
        """What the client said of a resource that it was sent: `accepted`, `refused`, or `sent` while it is silent."""
        if name in self.refused:
            return "refused"
        return "sent" if any(name in names for _, names in self.unanswered.values()) else "accepted"

    def check_size(self, type_url: str) -> None:
        """Raise EXHAUSTED when a client names more resources than any proxy of ours has."""
        if len(self.names) > MOST_NAMES:
            raise RingfenceError(Kind.EXHAUSTED, f"a stream may name {MOST_NAMES} resources of {type_url}, not more")

    def forget_unwanted(self) -> None:
        """Drop what the client no longer wants: it drops it too, and must get it again when it asks again."""
        if not self.everything:
            self.held = {name: held for name, held in self.held.items() if name in self.names}
            self.refused &= self.names

    def changed(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Names whose content is not what the client was last sent; what it refused goes along, but never alone."""
        changed = {
            name for name, new in wanted.items() if (old := self.held.get(name)) is None or old.version != new.version
        }
        return changed | (self.refused & wanted.keys()) if changed else changed

    def gone(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Names that the client holds and that exist no more."""
        return self.held.keys() - wanted.keys()

    def sent(self, nonce: str, version: str, resources: Iterable[Resource]) -> None:
        """Note a response on its way; its verdict will come with the nonce."""
        names = frozenset(resource.name for resource in resources)
        self.nonce = nonce
        self.held.update((resource.name, resource) for resource in resources)
        self.unanswered[nonce] = (version, names)
        if len(self.unanswered) > _OUTSTANDING:
            del self.unanswered[next(iter(self.unanswered))]

    def lost(self, names: Iterable[str]) -> None:
        """Note that the client was told that these exist no more."""
        for name in names:
            self.held.pop(name, None)
            self.refused.discard(name)
        if self.nack is not None and self.nack.names and not self.refused:
            self.nack = None

    def accept(self, nonce: str) -> bool:
        """Note an ACK; false when that response had its verdict already or is none of ours."""
        if nonce not in self.unanswered:
            return False
        self.version, names = self.unanswered.pop(nonce)
        self.refused -= names
        if not self.refused:
            self.nack = None
        return True

    def refuse(self, type_url: str, nonce: str, detail: str) -> Nack | None:
        """Note a NACK and return it; None when that response had its verdict already or is none of ours."""
        if nonce not in self.unanswered:
            return None
        version, names = self.unanswered.pop(nonce)
        self.refused |= names
        self.nack = Nack(type_url, version, names, detail)
        return self.nack

    def holds(self, named: Mapping[str, Resource]) -> bool:
        """Whether the client acknowledged every one of these, and nothing is on its way or refused."""
        if self.unanswered or self.nack is not None:
            return False
        return all(name in self.held and self.held[name].version == new.version for name, new in named.items())
