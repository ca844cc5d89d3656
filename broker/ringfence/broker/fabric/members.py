"""The claims that a server knows of, and what stands of them: each node is told from one value that all nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.bell import Bell
from ringfence.broker.fabric.givers import Givers
from ringfence.broker.fabric.message import Refusal, update_message
from ringfence.broker.intent import Intent
from ringfence.broker.issuance.grants import Grants
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.server.agents import Agents
from ringfence.broker.store import fabric_claims
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.claims import Claim, JobOn, Leave
from ringfence.fabric.membership import Judged, Standing, Told, judged, told
from ringfence.proto.lane.framing import Framed, frame

APPLIED, PENDING, FAILED = "applied", "pending", "failed"
Key = tuple[str, str, str, str, str]
Kind = tuple[frozenset[str], frozenset[JobOn]]  # of agents: the identities that it may give, and the jobs it is in


@dataclass(frozen=True, slots=True)
class Sources:
    """What decides with the claims themselves."""

    intent: Intent
    registry: Registry
    revoked: Revoked
    agents: Agents
    clock: Callable[[], datetime]

    @property
    def stamp(self) -> tuple[str, int, int]:
        """Different when anything of it but the registry may be."""
        return self.intent.revision, self.revoked.version, self.agents.version

    def given(self, claim: Claim) -> tuple[SpiffeId, int]:
        """The identity that the claim's agent may give by the claim's entry, and its end; raises DENIED."""
        agent = SpiffeId.parse(claim.agent)
        # 1. The agent attested, and nobody evicted or banned it since.
        self.agents.admitted(agent)
        # 2. The entry is its own or every node's, has not ended, and what it gives is not revoked.
        entry = Grants(self.registry, self.revoked, self.clock).entry(agent, claim.entry_id)
        return entry.spiffe_id, entry.expires_at


@dataclass(frozen=True, slots=True)
class Update:
    """What one agent is to be told: equal for equal content, whenever it was made."""

    told: Told
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One moment of it all. `made` keeps what agents of one kind are told, `framed` the message of it."""

    number: int
    stamp: object
    leave: Leave
    judged: Judged
    before: Mapping[Kind, Told] = field(default_factory=dict)  # what they were told: compared in no time if it is this
    made: dict[Kind, Told] = field(default_factory=dict)
    framed: dict[int, tuple[Told, Framed]] = field(default_factory=dict)

    def is_of(self, stamp: object, now: int) -> bool:
        """Whether it is what would be made now."""
        return self.stamp == stamp and (self.judged.changes_at is None or now < self.judged.changes_at)


@dataclass(slots=True)
class Node:
    """A connected agent that keeps fabrics. Revisions are those of FabricsUpdate on its stream."""

    claims: tuple[Claim, ...] | None = None  # None: it has not said yet which it has
    fresh: bool = False  # it has said so since it was last looked at
    refused: Mapping[Claim, RingfenceError] = field(default_factory=dict)
    sent: int = 0
    sent_at: float = 0.0  # of the event loop
    applied: pb.FabricApplied = field(default_factory=pb.FabricApplied)

    @property
    def state(self) -> str:
        """Whether it holds all that it was told last, or failed to, or has not said so yet."""
        if self.applied.revision != self.sent:
            return PENDING
        return FAILED if self.applied.code else APPLIED


class Members:
    """Claims by agent, from the store and from connected nodes; `view` is what they come to."""

    def __init__(self, sources: Sources, store: Store, bell: Bell) -> None:
        self.sources = sources
        self.bell = bell
        self.nodes: dict[str, Node] = {}  # by agent
        self.version = 0  # of the claims
        self._store = store
        self._rows: dict[str, dict[Key, Standing]] = {}  # by agent
        self._givers = Givers(sources.registry)
        self._view = View(0, None, Leave(), Judged())

    async def follow(self, agents: frozenset[str] | None) -> None:
        """Take in what is stored of these *agents*, or of all."""
        found = await self._store.run(fabric_claims.every, agents)
        if agents is None:
            self._rows.clear()
        for agent in agents or ():
            self._rows.pop(agent, None)
        for one in found:
            self._rows.setdefault(one.claim.agent, {})[one.claim.key] = one
        self.changed()

    def changed(self) -> None:
        """Have everybody look again."""
        self.version += 1
        self.bell.ring()

    @property
    def rows(self) -> Iterator[Standing]:
        """All that is stored."""
        return (one for rows in self._rows.values() for one in rows.values())

    def row(self, claim: Claim) -> Standing | None:
        """What is stored of that claim, whatever addresses it had."""
        return self._rows.get(claim.agent, {}).get(claim.key)

    @property
    def view(self) -> View:
        """What stands now: made anew if anything has changed, or has ended."""
        now = int(self.sources.clock().timestamp())
        if not self._view.is_of(self._stamp(self._givers.granted), now):
            self._view = self._made(now, self._view)
        return self._view

    def _stamp(self, granted: frozenset[str]) -> tuple[object, ...]:
        return self.version, self._givers.follow(granted), *self.sources.stamp

    def update_of(self, agent: SpiffeId) -> Update:
        """What *agent* is to be told."""
        view, name = self.view, str(agent)
        gives = self._givers.of(agent).difference(self.sources.revoked.current.identities)
        kind = gives, view.judged.in_job.get(name, frozenset[JobOn]())
        found = view.made.get(kind)
        if found is None:
            found, before = told(view.leave, view.judged, name, gives), view.before.get(kind)
            view.made[kind] = found = before if before == found else found
        node = self.nodes.get(name)
        refused = node.refused if node is not None else {}
        return Update(found, tuple(Refusal.of(claim, error) for claim, error in sorted(refused.items(), key=_by_claim)))

    def message(self, update: Update) -> tuple[int, Framed]:
        """*update* for the wire, and its revision; one for all agents that are told the same."""
        view = self.view
        held = view.framed.get(id(update.told))
        if held is not None and not update.refusals:
            return view.number, held[1]
        framed = frame(pb.ServerMessage(fabrics=update_message(view.number, *_of(update))).SerializeToString())
        if not update.refusals:
            view.framed[id(update.told)] = update.told, framed  # with what the id is of, so that it stays that one's
        return view.number, framed

    def _made(self, now: int, before: View) -> View:
        leave = Leave.of(self.sources.intent.model, self.sources.clock())
        found = judged(self._claimed(), leave, self.sources.given, now)
        spelled = (leave.spelled(s) for grants in leave.grants.values() for grant in grants for s in grant.sources)
        return View(before.number + 1, self._stamp(frozenset(spelled)), leave, found, before.made)

    def _claimed(self) -> Iterable[Standing]:
        """What is stored, but for what its node, which is connected here, claims no more."""
        for agent, rows in self._rows.items():
            node = self.nodes.get(agent)
            if node is None or node.claims is None:
                yield from rows.values()
                continue
            now = {claim.key: claim.addresses for claim in node.claims}
            for one in rows.values():
                if (addresses := now.get(one.claim.key)) is not None:
                    yield _narrowed(one, addresses)


def _narrowed(one: Standing, addresses: tuple[str, ...]) -> Standing:
    """It, without the addresses that are not claimed any more."""
    kept = tuple(address for address in one.claim.addresses if address in addresses)
    return one if kept == one.claim.addresses else replace(one, claim=replace(one.claim, addresses=kept))


def _of(update: Update) -> tuple[Told, tuple[Refusal, ...]]:
    return update.told, update.refusals


def _by_claim(refused: tuple[Claim, RingfenceError]) -> Claim:
    return refused[0]
