"""What a rank of a job has beside its proxy: its places on fabrics, its way to rank 0's store, and their variables."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ringfence.broker.run.capture import Wanted
from ringfence.broker.run.capture_exclusions import Exclusions
from ringfence.broker.run.fabric_join import Membership, Place
from ringfence.broker.run.plan import ProxyPlan, Who
from ringfence.broker.run.rendezvous import Held, Meeting, Rendezvous
from ringfence.broker.run.store_watch import open_store, watch
from ringfence.broker.run.torchrun import check, options_of
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from ringfence.fabric.environment import Environment


@dataclass(frozen=True, slots=True)
class WantedRank:
    """What the user asked for; nothing of it: a workload that is no rank."""

    fabrics: tuple[str, ...] = ()  # NAMESPACE/NAME
    job: str = ""  # NAMESPACE/JOB; empty: the one that the workload is
    secret_file: Path | None = None
    bootstrap: str = ""
    meeting: Meeting | None = None
    store_closed: bool = False  # by what nothing here sees; whoever says so answers for it


_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
NO_RANK = WantedRank()


class Rank:
    """The rank of one run; `join` first. What it holds ends with the `async with`.

    *walled*: the command has a network of its own. Raises INVALID, NOT_FOUND or DENIED where ranks cannot meet.
    """

    def __init__(
        self,
        wanted: WantedRank,
        who: Who,
        command: Sequence[str],
        inherited: Mapping[str, str],
        described: Any,
        *,
        walled: bool,
    ) -> None:
        self._wanted = wanted
        self._walled = walled
        self._torchrun = options_of(command, inherited)
        self._store = Rendezvous.of(wanted.meeting, who, described) if wanted.meeting else None
        if self._store and self._torchrun is not None:
            check(self._torchrun, self._store.rank, self._store.number)
        self._job = wanted.job or (f"{who.namespace}/{who.job}" if who.job else "")
        if wanted.fabrics and not self._job:
            what = f"--fabric takes --job: Workload {who} is no job of its own"
            raise RingfenceError(Kind.INVALID, what, hint="Name a job that a FabricGrant lets use the fabric")
        self._memberships: list[Membership] = []
        self._made: list[Environment] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def join(self, agent: str, *, patience: float, say: Callable[[str], None]) -> None:
        """Take part in the job on every fabric; raises what the agent says, DENIED where the store would be open."""
        wanted = self._wanted
        # 1. With a network of its own, the command's firewall or namespace closes the port.
        closed = (self._store.number,) if self._store and self._store.is_host and not self._walled else ()
        for fabric in wanted.fabrics:
            place = Place(fabric, self._job, closed)
            membership = Membership(place, agent, patience=patience, say=say)
            self._memberships.append(await self._stack.enter_async_context(membership))
        # 2. torchrun's store is known to listen on every address; of others it is seen when they do.
        if self._store and self._is_open and self._torchrun is not None:
            raise open_store(self._store.number)
        # 3. What the libraries cannot be told ends the run before its command.
        if self._memberships:
            self._compile([one.joined for one in self._memberships], say)

    def _compile(self, joined: list[Any], say: Callable[[str], None]) -> None:
        from ringfence.broker.run.fabric_environment import environments, unbounded
        from ringfence.fabric.magic import socket_magic

        wanted = self._wanted
        magic = socket_magic(wanted.secret_file.read_bytes(), self._job) if wanted.secret_file else ""
        self._made = environments(joined, magic=magic, bootstrap=wanted.bootstrap)
        # A network of its own is its maker's matter, and what is off the fabric needs no leave of it.
        if not self._walled and not wanted.bootstrap:
            for what in unbounded(joined, _PORTS.read_text(encoding="ascii")):
                say(what)

    @property
    def held(self) -> str:
        """The upstream whose connections are held until there is a store; empty for none."""
        return self._store.upstream if self._store and not self._store.is_host else ""

    def captured(self, asked: Wanted) -> Wanted:
        """*asked*, with all of the fabrics left alone: collectives never meet a proxy."""
        joined, named = [one.joined for one in self._memberships], asked.exclusions
        exclusions = Exclusions.parse(
            [*named.interfaces, *(name for one in joined for name in one.interfaces)],
            [*map(str, named.networks), *(cidr for one in joined for cidr in one.fabric.cidrs)],
        )
        return replace(asked, exclusions=exclusions)

    def planned(self, plan: ProxyPlan) -> ProxyPlan:
        """*plan* with the one way to the store."""
        return self._store.planned(plan) if self._store else plan

    async def outside(self, plan: ProxyPlan, folder: Path, bind: Callable[[str, int], socket.socket]) -> ProxyPlan:
        """The proxy's plan, of the command's, for a command without walls; the way is open from now on."""
        if self._store is None or not self.held:
            return plan
        held = await self._stack.enter_async_context(Held(self._store, folder, bind))
        return held.outside(plan)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """*inherited* with the variables of fabrics and store, and without what contradicts them."""
        found = dict(inherited)
        if self._made:
            from ringfence.broker.run.fabric_environment import with_fabrics

            found = with_fabrics(inherited, self._made)
        return self._store.environment(found) if self._store else found

    def ends(self, pid: int) -> Iterator[asyncio.Task[Any]]:
        """What ends the command *pid*, each with the reason as its exception."""
        yield from (one.lost for one in self._memberships)
        if self._store and self._is_open:
            task = asyncio.create_task(watch(pid, self._store.number))
            self._stack.callback(task.cancel)
            yield task

    @property
    def _is_open(self) -> bool:
        """Whether nothing closes the port of the store, which is here."""
        closed = self._walled or self._wanted.store_closed or self._memberships
        return bool(self._store and self._store.is_host and not closed)
