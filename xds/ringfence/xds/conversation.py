"""What a discovery stream keeps of its client whichever variant it speaks: one subscription a type, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ringfence.xds.dialect import ADS, Dialect
from ringfence.xds.quarantine import Refusals
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.subscription import Nack, Subscription

MOST_UNKNOWN = 16  # types that are not served and are remembered


class Conversation:
    """The state that `SotwStream` and `DeltaStream` share; they add what to say and when."""

    def __init__(self, dialect: Dialect = ADS) -> None:
        self._dialect = dialect
        self._types = {url: Subscription() for url in dialect.order}
        self._epoch = 0
        self._count = 0
        self._origin = ""
        self.unknown: set[str] = set()  # types asked for that are not served

    @property
    def acked(self) -> dict[str, str]:
        """The version last acknowledged, by type."""
        return {url: wants.version for url, wants in self._types.items() if wants.version}

    @property
    def nacks(self) -> dict[str, Nack]:
        """What the client refuses at present, by type."""
        return {url: wants.nack for url, wants in self._types.items() if wants.nack is not None}

    @property
    def waits(self) -> bool:
        """Whether something that was sent has no answer yet."""
        return any(wants.unanswered for wants in self._types.values())

    def refusals(self) -> dict[str, Refusals]:
        """What the next stream of the same client is to know of it: of types whose refusals are said once only.

        Envoy accepts a policy that it has refused when it comes again, without using it.
        """
        return {url: found for url in self._dialect.single if (found := self._types[url].refusals()) is not None}

    def resume(self, before: Mapping[str, Refusals]) -> None:
        """Know what it refused on an earlier stream."""
        for url, refusals in before.items():
            self._types[url].resume(url, refusals)

    def told(self) -> list[tuple[str, Resource, str]]:
        """What the client was sent and is not told to drop, with its type and standing: accepted, sent or refused."""
        return [(url, *each) for url, wants in self._types.items() for each in wants.told()]

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether the client acknowledged every resource of *snapshot*; one that asks by name, all that it asks for."""
        by_name = not self._dialect.everything
        for url, wants in self._types.items():
            named = snapshot.named(url)
            if not (named or wants.started):
                continue  # most types of most streams
            if not wants.holds(wants.wanted(snapshot, url) if by_name else named):
                return False
        return True

    def _begin(self, epoch: int | None, origin: str) -> None:
        """Note what the next responses come from: nonces count from a new *epoch*, and *origin* is said beside them."""
        self._origin = origin
        if epoch is not None and epoch != self._epoch:
            self._epoch, self._count = epoch, 0

    def _nonce(self) -> str:
        """The next one: unique on the stream (3)."""
        self._count += 1
        return f"{self._epoch}.{self._count}"

    def _missing(self, url: str, names: Collection[str]) -> tuple[str, ...]:
        """Names asked for in vain, which are said to be missing once, in the answer (16), or end the stream."""
        if names and self._dialect.on_missing is not None:
            self._dialect.on_missing(url, frozenset(names))
        return tuple(sorted(names)) if self._dialect.says_missing else ()

    def _needed(
        self, due: Iterable[Resource], snapshot: Snapshot
    ) -> Iterator[tuple[str, Subscription, list[Resource]]]:
        """By type, what *due* resources need: sent along again, or the client goes on warming them (13)."""
        needs = sorted({need for one in due for need in one.needs})
        for url, wants in self._types.items():
            named = wants.wanted(snapshot, url) if wants.started else {}
            if found := [named[name] for kind, name in needs if kind == url and name in named]:
                yield url, wants, found

    def _apart(self, url: str, resources: list[Resource]) -> list[list[Resource]]:
        """*resources* by response: each for itself where the dialect says so; one response at least, if of nothing."""
        return [[one] for one in resources] if url in self._dialect.single and resources else [resources]

    def _asked(self, type_url: str) -> tuple[str, Subscription | None]:
        """The type of a request and its subscription; None for one not served: the stream goes on in silence (2)."""
        url = type_url or self._dialect.implicit
        wants = self._types.get(url)
        if wants is None and len(self.unknown) < MOST_UNKNOWN:
            self.unknown.add(url)
        return url, wants
