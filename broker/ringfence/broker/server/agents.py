"""Agents that may connect: those that attested and were neither evicted nor banned, in memory and on disk."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from ringfence.broker import events
from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.store import nodes
from ringfence.broker.store.engine import Store
from ringfence.broker.store.nodes import Node
from ringfence.broker.trust import Trust
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from ringfence.proto.lane.peer import Peer

_ANEW = "It has to attest anew; one that joined by token needs a new one (`ringfence token generate`, --join-token)"

_NONE: frozenset[Selector] = frozenset()

Ended = asyncio.Future[None]  # has an exception once an operator ends the stream


class Agents:
    """Who is an agent, and which streams each has open here."""

    def __init__(self, trust: Trust, store: Store, *, clock: Callable[[], datetime]) -> None:
        self._trust = trust
        self._store = store
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._facts: dict[str, frozenset[Selector]] = {}
        self._one_at_a_time = asyncio.Lock()  # over store and memory of one change
        self._open: defaultdict[str, set[Ended]] = defaultdict(set)
        self.version = 0  # of who is admitted
        self.on_change: Callable[[], None] = _nothing  # called at every new one

    @property
    def connected(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._open.values()))

    async def load(self) -> None:
        """Read them once."""
        self._nodes.clear()
        for node in (await self._store.run(nodes.every)).values():
            self.know(node)

    async def follow(self, keys: frozenset[str] | None) -> None:
        """Take in what other servers have done to agents: whoever was evicted or banned there, ends here too."""
        async with self._one_at_a_time:
            found = await self._store.run(nodes.every, keys)
            for spiffe_id in set(self._nodes) | set(found) if keys is None else keys:
                self._follow(SpiffeId.parse(spiffe_id), found.get(spiffe_id))

    def _follow(self, agent: SpiffeId, node: Node | None) -> None:
        before = self._nodes.get(str(agent))
        if node is None:
            self._forget(agent)
            return
        self.know(node)
        if before is None:
            return
        if node.banned and not before.banned:
            self._end(agent, "banned", _banned(node))
        elif node.attested_at != before.attested_at and self._open.get(node.spiffe_id):
            self._end(agent, "replaced", _replaced(agent))

    def _forget(self, agent: SpiffeId) -> int:
        # 1. No new stream.
        self._nodes.pop(str(agent), None)
        self._facts.pop(str(agent), None)
        self._changed()
        # 2. The open ones end.
        return self._end(agent, "evicted", _evicted(agent)) if self._open.get(str(agent)) else 0

    def know(self, node: Node) -> None:
        """Take note of a node that the store has recorded."""
        before = self._nodes.get(node.spiffe_id)
        self._nodes[node.spiffe_id] = node
        self._facts[node.spiffe_id] = frozenset(map(_selector, node.selectors))
        if before is None or (before.banned, before.selectors) != (node.banned, node.selectors):
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        self.on_change()

    def check_ban(self, agent: SpiffeId) -> None:
        """Raise DENIED for one that is banned."""
        node = self._nodes.get(str(agent))
        if node is not None and node.banned:
            raise _banned(node)

    async def attested(self, node: Node) -> None:
        """Record a node that has proved itself; raises DENIED for one that is banned.

        Streams that it has open were opened with what is out now, or by a copy of it: they end.
        """
        agent = SpiffeId.parse(node.spiffe_id)
        async with self._one_at_a_time:
            if not await self._store.run(nodes.attested, node):
                raise _banned(self._nodes.get(node.spiffe_id, node))
            self.know(node)
            if self._open.get(node.spiffe_id):
                self._end(agent, "replaced", _replaced(agent))

    def selectors_of(self, agent: SpiffeId) -> frozenset[Selector]:
        """What the last attestation of *agent* proved."""
        return self._facts.get(str(agent), _NONE)

    def every(self) -> list[tuple[Node, int]]:
        """All nodes, the first that attested first, each with the number of its open streams."""
        known = sorted(self._nodes.values(), key=lambda node: (node.attested_at, node.spiffe_id))
        return [(node, self._streams(node.spiffe_id)) for node in known]

    async def renewed(self, agent: SpiffeId, serial: str, not_after: int) -> None:
        """Record the newest SVID of an agent; raises DENIED for one that was evicted or banned meanwhile."""
        async with self._one_at_a_time:
            if not await self._store.run(nodes.renewed, str(agent), serial, not_after):
                raise _not_admitted(agent)
            if (node := self._nodes.get(str(agent))) is not None:
                self.know(replace(node, serial=serial, not_after=not_after))

    async def evict(self, agent: SpiffeId) -> int | None:
        """Have *agent* attest anew before it gets anything more; streams ended, or None if nothing changed."""
        async with self._one_at_a_time:
            # On disk first, so that neither a renewal under way nor a restart brings it back.
            if not await self._store.run(nodes.evict, str(agent)):
                return None
            return self._forget(agent)

    async def ban(self, agent: SpiffeId, reason: str = "") -> int | None:
        """Refuse *agent* until the ban is lifted; streams ended, or None if nothing changed."""
        attestor = agent.path.removeprefix(AGENT_PREFIX).partition("/")[0]
        stranger = Node(str(agent), attestor, 0, "", 0, banned=True, reason=reason)
        async with self._one_at_a_time:
            if not await self._store.run(nodes.ban, stranger):
                return None
            node = replace(self._nodes.get(str(agent), stranger), banned=True, reason=reason)
            self.know(node)
            return self._end(agent, "banned", _banned(node))

    async def lift(self, agent: SpiffeId) -> bool:
        """End a ban: an SVID that is still valid is good again. Whether there was one."""
        async with self._one_at_a_time:
            if not await self._store.run(nodes.lift, str(agent)):
                return False
            node = self._nodes.pop(str(agent), None)
            if node is not None and node.serial:
                self.know(replace(node, banned=False, reason=""))
        events.node_unbanned(agent)
        return True

    @contextmanager
    def stream(self, agent: SpiffeId) -> Iterator[Ended]:
        """A place among the open streams of *agent*; the future fails when an operator ends them."""
        ended: Ended = asyncio.get_running_loop().create_future()
        self._open[str(agent)].add(ended)
        try:
            yield ended
        finally:
            self._open[str(agent)].discard(ended)
            if not self._open[str(agent)]:
                del self._open[str(agent)]
            if ended.done():
                ended.exception()  # it was told by whoever held the stream, or there was nobody left to tell
            else:
                ended.cancel()

    def authenticate(self, peer: Peer) -> SpiffeId:
        """The agent at the other end; raises UNAUTHENTICATED or DENIED."""
        # 1. A certificate was given and its key used: TLS has seen to that.
        if peer.certificate is None:
            raise RingfenceError(Kind.UNAUTHENTICATED, "an agent shows its SVID", hint="Attest first")
        # 2. It is an SVID of ours, now: the bundle may have changed since the handshake.
        spiffe_id = verify_peer(self._trust.path_of(peer.certificate), self._trust.bundle, now=self._clock())
        # 3. It is an agent's.
        if not spiffe_id.path.startswith(AGENT_PREFIX):
            raise RingfenceError(Kind.DENIED, f"{spiffe_id} is no agent")
        # 4. We know that agent, and nobody has banned it.
        node = self.admitted(spiffe_id)
        # 5. The SVID came with or after its last attestation: one from before an eviction stays out.
        if not _is_current(peer.certificate, node):
            raise _not_admitted(spiffe_id)
        return spiffe_id

    def admitted(self, agent: SpiffeId) -> Node:
        """The node of *agent*; raises DENIED for one that is not known or banned."""
        node = self._nodes.get(str(agent))
        if node is None:
            raise _not_admitted(agent)
        if node.banned:
            raise _banned(node)
        return node

    def _streams(self, spiffe_id: str) -> int:
        return len(self._open.get(spiffe_id, ()))

    def _end(self, agent: SpiffeId, how: str, why: RingfenceError) -> int:
        streams = [ended for ended in self._open.get(str(agent), ()) if not ended.done()]
        for ended in streams:
            ended.set_exception(why)
        events.node_ended(agent, how, len(streams))
        return len(streams)


def _nothing() -> None:
    pass


def _is_current(certificate: bytes, node: Node) -> bool:
    """Whether it is the node's newest SVID, or (a renewal's answer may be lost) another one since it attested."""
    leaf = read_certificate(certificate)
    issued_at = (leaf.not_valid_before_utc + BACKDATE).timestamp()
    return f"{leaf.serial_number:032x}" == node.serial or issued_at > node.attested_at


def _selector(text: str) -> Selector:
    kind, _, value = text.partition(":")
    return Selector(kind, value)


def _replaced(agent: SpiffeId) -> RingfenceError:
    return RingfenceError(
        Kind.DENIED,
        f"{agent} attested again elsewhere",
        hint="Two agents with one certificate put each other out: give each node its own",
    )


def _not_admitted(agent: SpiffeId) -> RingfenceError:
    return RingfenceError(Kind.DENIED, f"{agent} is not admitted here", hint=_ANEW)


def _evicted(agent: SpiffeId) -> RingfenceError:
    return RingfenceError(Kind.DENIED, f"{agent} was evicted", hint=_ANEW)


def _banned(node: Node) -> RingfenceError:
    agent, why = node.spiffe_id, f": {node.reason}" if node.reason else ""
    return RingfenceError(
        Kind.DENIED, f"{agent} is banned{why}", hint=f"Only an operator can lift that: ringfence node unban {agent}"
    )
