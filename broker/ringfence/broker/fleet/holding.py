"""Whether proxies hold a revision of the intent: looked at when one of them answers, and told to whoever waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ringfence.broker.fleet.dump import is_named
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import SYNCED, Proxy


class Outcome(Enum):
    """How it stands; all but WAITING are the end."""

    WAITING = "waiting"
    HELD = "held"
    REFUSED = "refused"  # a proxy has refused what the revision means to it
    SUPERSEDED = "superseded"  # it was in force, and another one is


@dataclass(frozen=True, slots=True)
class Standing:
    """How many of the proxies that are meant hold the revision, which do not, and names that mean none as yet."""

    outcome: Outcome
    revision: str  # that is in force
    meant: int
    late: tuple[Proxy, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """A question: do the proxies that *names* mean (all, where there are none) hold *revision*, or a start of it?

    *may_see*: which proxies the asker may hear of; the others do not count.
    """

    fleet: Fleet
    revision: str
    names: Sequence[str]
    may_see: Callable[[Proxy], bool]

    async def watch(self) -> AsyncIterator[Standing]:
        """How it stands, at once and whenever that has changed, until the end."""
        said: Standing | None = None
        reached = False
        while True:
            reached = reached or self._is_in_force()
            standing = self._look(reached=reached)
            if standing == said:
                await self._until_more(list(standing.late))
                continue
            yield standing
            said = standing
            if standing.outcome is not Outcome.WAITING:
                return

    def _look(self, *, reached: bool) -> Standing:
        seen = [proxy for proxy in self.fleet.connected if self.may_see(proxy)]
        missing = tuple(name for name in self.names if not any(is_named(proxy, name) for proxy in seen))
        meant = [proxy for proxy in seen if not self.names or any(is_named(proxy, name) for name in self.names)]
        late = tuple(proxy for proxy in meant if proxy.state != SYNCED)
        return Standing(self._outcome(late, missing, reached=reached), self.fleet.revision, len(meant), late, missing)

    def _outcome(self, late: Sequence[Proxy], missing: Sequence[str], *, reached: bool) -> Outcome:
        if not self._is_in_force():
            return Outcome.SUPERSEDED if reached else Outcome.WAITING
        if any(proxy.has_refused for proxy in late):
            return Outcome.REFUSED
        return Outcome.WAITING if late or missing else Outcome.HELD

    async def _until_more(self, late: list[Proxy]) -> None:
        """Until another look is worth it. One look a step at one proxy: a thousand ACKs are a thousand steps."""
        revision, nacks = self.fleet.revision, self.fleet.counts.nacks
        await self.fleet.step()
        while late and (revision, nacks) == (self.fleet.revision, self.fleet.counts.nacks):
            if late[-1].state == SYNCED or late[-1] not in self.fleet.connected:
                late.pop()
            else:
                await self.fleet.step()

    def _is_in_force(self) -> bool:
        return bool(self.revision) and self.fleet.revision.startswith(self.revision)
