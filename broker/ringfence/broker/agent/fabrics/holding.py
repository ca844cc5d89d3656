"""Has this node hold what is wanted of each fabric, with as little change as can be; knows what it holds. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ringfence.broker.fabric.apply import apply, change_members, has_drifted, refilter, remove, settings_before
from ringfence.broker.fabric.apply_links import live_links
from ringfence.broker.fabric.closed import close_ports, closed_ports
from ringfence.broker.fabric.sysfs import read_node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node
from ringfence.fabric.plan import FabricPlan, Members, members_of, plan_node
from ringfence.fabric.plan_links import Links
from ringfence.fabric.plan_shared import own_interfaces
from ringfence.fabric.resolve import interfaces_of
from ringfence.policy.fabrics import Fabric

Jobs = Mapping[str, Mapping[str, int]]  # members by job: each address with its end, in Unix seconds


@dataclass(frozen=True)
class Held:
    """What the node holds of a fabric: its own interfaces and addresses there, and the members of each job."""

    interfaces: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    members: tuple[Members, ...] = ()
    error: RingfenceError | None = None  # why it is not what is wanted

    @property
    def shown(self) -> object:
        """Equal while nothing is other than before, the same failure included."""
        return self.interfaces, self.addresses, self.members, str(self.error or "")

    def ends(self, job: str) -> Mapping[str, int]:
        """The members of *job* by address, each with its end."""
        return self._ends.get(job, {})

    @cached_property
    def _ends(self) -> dict[str, dict[str, int]]:  # asked for by each stream, at each change
        return {one.job: {str(member.address): member.until for member in one.members} for one in self.members}


class Holding:
    """The fabrics of one node. Used by one thread at a time."""

    def __init__(self) -> None:
        self._plans: dict[str, FabricPlan] = {}  # as far as this process has put them there
        self._before: dict[str, dict[str, str]] = {}  # what the settings of interfaces were, by fabric
        self._elsewhere: set[str] = set()  # of these there is nothing here, since what they name is another's
        self._stale: set[str] = set()  # of these, not all is there any more
        self._seen: tuple[Node, Links] | None = None

    def look(self) -> None:
        """See what interfaces, addresses and routes the node has now, and which fabrics it holds no more."""
        self._seen = read_node(Path("/sys")), live_links()
        self._stale |= {key for key, plan in self._plans.items() if has_drifted(plan)}

    def settle(self, fabric: Fabric, jobs: Jobs, now: float, others: Iterable[Fabric] = ()) -> Held:
        """Have the node hold *fabric* with *jobs* beside *others*, from *now* on in Unix seconds; raises nothing."""
        try:
            node, links = self._node()
            if self._is_elsewhere(fabric, node, links, others):
                return self._leave(fabric.key)
            plan = plan_node(fabric, node, links, jobs, others)
        except RingfenceError as error:
            return self._without_plan(fabric, jobs, error, now)
        try:
            self._put(plan, now)
        except RingfenceError as error:
            return self._failed(plan, error)
        self._plans[fabric.key] = plan
        self._stale.discard(fabric.key)
        return _held(plan)

    def only_fewer(self, key: str, now: float, error: RingfenceError) -> Held:
        """Of a fabric that cannot be as it is wanted: nobody is a member."""
        return self._shrink(key, {}, now, error)

    def remove(self, key: str) -> None:
        """Take all of the fabric away; raises what `apply.remove` does."""
        self._plans.pop(key, None)
        remove(key)
        self._before.pop(key, None)

    def close_ports(self, ports: frozenset[int]) -> None:
        """Close these TCP ports to all but the node, and no others."""
        close_ports(ports)

    def closed_ports(self) -> frozenset[int]:
        """Those that are closed now."""
        return closed_ports()

    def _node(self) -> tuple[Node, Links]:
        if self._seen is None:
            self.look()
        assert self._seen is not None  # noqa: S101  # look() has set it, or raised
        return self._seen

    def _is_elsewhere(self, fabric: Fabric, node: Node, links: Links, others: Iterable[Fabric]) -> bool:
        """Whether all that the node has under the names of its interfaces is another fabric's, as in another zone."""
        names = interfaces_of(fabric, node)
        return bool(names) and not own_interfaces(fabric, names, links, others)

    def _leave(self, key: str) -> Held:
        """Nothing of it may be here: its filter would cut off the members of the other."""
        if key not in self._elsewhere:
            self.remove(key)
            self._elsewhere.add(key)
        return Held()

    def _put(self, plan: FabricPlan, now: float) -> None:
        had = self._plans.get(plan.fabric.key)
        if had is not None and had.nics == plan.nics and plan.fabric.key not in self._stale:
            with suppress(RingfenceError):  # whatever is wrong there, the whole plan puts it right, or says what it is
                self._put_filter(had, plan, now)
                return
        key = plan.fabric.key
        self._elsewhere.discard(key)
        apply(plan, now, self._before.get(key, {}))
        self._before[key] = settings_before(key)

    def _put_filter(self, had: FabricPlan, plan: FabricPlan, now: float) -> None:
        """Routes and settings are as they are to be."""
        same_jobs = [one.job for one in had.members] == [one.job for one in plan.members]
        if same_jobs and replace(had, members=plan.members) == plan:
            change_members(plan.fabric.key, had.members, plan.members, now)
        else:
            refilter(plan, now, self._before[plan.fabric.key])

    def _failed(self, plan: FabricPlan, error: RingfenceError) -> Held:
        """It was taken back to what was there before, as far as that went; the next try is a whole one."""
        self._stale.add(plan.fabric.key)
        had = self._plans.get(plan.fabric.key)
        return replace(_held(had), error=error) if had is not None else Held(error=error)

    def _without_plan(self, fabric: Fabric, jobs: Jobs, error: RingfenceError, now: float) -> Held:
        """Whoever is no member any more is taken out nevertheless; what there is of the filter keeps the rest off."""
        try:
            fewer = {one.job: one for one in members_of(fabric, jobs)}
        except RingfenceError:
            fewer = {}
        if error.kind is not Kind.NOT_FOUND:
            return self._shrink(fabric.key, fewer, now, error)
        # A node without an interface of it is none of the fabric's, or its interface comes later.
        return replace(self._shrink(fabric.key, fewer, now, None), interfaces=(), addresses=())

    def _shrink(self, key: str, wanted: Mapping[str, Members], now: float, error: RingfenceError | None) -> Held:
        had = self._plans.get(key)
        if had is None:
            return Held(error=error)
        fewer = tuple(_both(one, wanted.get(one.job)) for one in had.members)
        try:
            change_members(key, had.members, fewer, now)
        except RingfenceError as failed:
            return replace(_held(had), error=error or failed)
        self._plans[key] = replace(had, members=fewer)
        return replace(_held(self._plans[key]), error=error)


def _both(had: Members, wanted: Members | None) -> Members:
    """The members of before that are to be members still."""
    known = frozenset(had.addresses)
    return Members(had.job, tuple(one for one in (wanted.members if wanted else ()) if one.address in known))


def _held(plan: FabricPlan) -> Held:
    return Held(tuple(nic.name for nic in plan.nics), tuple(map(str, plan.own)), plan.members)
