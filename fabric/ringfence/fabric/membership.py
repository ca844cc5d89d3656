"""Who is in which job on a fabric: the claims that stand, the members they make, and what one node is told; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.claims import Claim, Given, JobOn, Leave, judge
from ringfence.policy.fabrics import Fabric

LEASE = 3600  # seconds that a claim stands without being renewed, as while its server or the database is away
GRACE = 60  # seconds that the claims of a node stand whose stream was lost: it mostly comes back at once


@dataclass(frozen=True, slots=True)
class Standing:
    """A claim that was admitted. Times are Unix seconds."""

    claim: Claim
    since: int
    until: int  # the end of its lease
    leaves: int = 0  # when it goes unless its node comes back; 0: that is connected
    server: str = ""  # to which its node is or was connected; empty: to one that is gone

    def stands(self, now: int) -> bool:
        """Whether neither its lease nor the grace of its node is over."""
        return now < self.until and (not self.leaves or now < self.leaves)


class Owners:
    """Which node has each address, and for which tenant: the first that came, until it leaves."""

    def __init__(self, standing: Iterable[Claim] = ()) -> None:
        self._by: dict[str, Claim] = {}
        for claim in standing:
            self._by.update(dict.fromkeys(claim.addresses, claim))

    def take(self, claim: Claim) -> None:
        """Let *claim* have its addresses, all of them or none; raises CONFLICT where another has one."""
        for address in claim.addresses:
            owner = self._by.get(address, claim)
            if owner.agent != claim.agent:
                raise _taken(address, f"node {owner.agent}")
            if owner.tenant != claim.tenant:
                raise _taken(address, f"a job of {owner.tenant} on the same node")
        self._by.update(dict.fromkeys(claim.addresses, claim))


@dataclass(frozen=True, slots=True)
class Member:
    """An address in a job, and until when (Unix seconds)."""

    address: str
    until: int


@dataclass(frozen=True, slots=True)
class Judged:
    """Which of the admitted claims stand now, each with its end, which do not and why, and who is a member thus."""

    standing: Mapping[Standing, int] = field(default_factory=lambda: MappingProxyType({}))
    fallen: Mapping[Standing, RingfenceError] = field(default_factory=lambda: MappingProxyType({}))
    members: Mapping[JobOn, tuple[Member, ...]] = field(default_factory=lambda: MappingProxyType({}))
    in_job: Mapping[str, frozenset[JobOn]] = field(default_factory=lambda: MappingProxyType({}))  # by agent
    changes_at: int | None = None  # when the first of this is different by the clock alone


def judged(admitted: Iterable[Standing], leave: Leave, given: Given, now: int) -> Judged:
    """What stands of *admitted* at *now*: each is judged anew, as if it was claimed now."""
    standing: dict[Standing, int] = {}
    fallen: dict[Standing, RingfenceError] = {}
    owners = Owners()
    for one in sorted(admitted, key=lambda each: (each.since, each.claim)):
        try:
            # 1. Its lease and its node's grace are not over.
            _check_time(one, now)
            # 2. All that is asked of a new claim.
            end = judge(one.claim, leave, given)
            # 3. Nobody had its addresses before.
            owners.take(one.claim)
        except RingfenceError as error:
            fallen[one] = error
        else:
            standing[one] = min(end, one.until)
    ends = [int(grant.expires.timestamp()) for grants in leave.grants.values() for grant in grants]
    leaving = [one.leaves for one in standing if one.leaves]
    return Judged(
        standing,
        fallen,
        _members(standing),
        _in_job(standing),
        min([*ends, *leaving, *standing.values()], default=None),
    )


@dataclass(frozen=True, slots=True)
class ToldJob:
    """A job on a fabric, as far as one node has to know it."""

    job: str
    spiffe_ids: tuple[str, ...]  # who may claim it on that node, as `Leave.spelled` writes them
    expires_at: int  # the end of its last grant
    members: tuple[Member, ...]  # none for a node that is not in it


@dataclass(frozen=True, slots=True)
class ToldFabric:
    """A fabric and the jobs on it, as far as one node has to know them."""

    fabric: Fabric
    jobs: tuple[ToldJob, ...]


Told = tuple[ToldFabric, ...]


def told(leave: Leave, judgement: Judged, agent: str, gives: frozenset[str]) -> Told:
    """What the node of *agent* has to know, of the identities *gives* that it may give, spelled as in its grants.

    Every fabric, so that one without a job on the node is closed there; of a job who is in it only if the node is.
    """
    own = judgement.in_job.get(agent, frozenset())
    jobs: dict[str, list[ToldJob]] = {}
    for (fabric, job), grants in leave.grants.items():
        who = tuple(sorted({leave.spelled(source) for grant in grants for source in grant.sources} & gives))
        if who and fabric in leave.fabrics:
            ends = max(int(grant.expires.timestamp()) for grant in grants)
            members = judgement.members.get((fabric, job), ()) if (fabric, job) in own else ()
            jobs.setdefault(fabric, []).append(ToldJob(job, who, ends, members))
    return tuple(
        ToldFabric(fabric, tuple(sorted(jobs.get(key, ()), key=lambda one: one.job)))
        for key, fabric in leave.fabrics.items()
    )


def _check_time(one: Standing, now: int) -> None:
    if not now < one.until:
        raise RingfenceError(Kind.DENIED, "its lease has ended", hint="The database was away: see the server's log")
    if one.leaves and not now < one.leaves:
        raise RingfenceError(Kind.DENIED, f"its node did not come back within {GRACE} s", hint="See its agent's log")


def _members(standing: Mapping[Standing, int]) -> dict[JobOn, tuple[Member, ...]]:
    """Of each job its addresses in order, each once, until the last claim of it ends."""
    found: dict[JobOn, dict[str, int]] = {}
    for one, end in standing.items():
        ends = found.setdefault(one.claim.job_on, {})
        for address in one.claim.addresses:
            ends[address] = max(end, ends.get(address, 0))
    return {
        job_on: tuple(Member(address, ends[address]) for address in sorted(ends, key=_in_order))
        for job_on, ends in found.items()
    }


def _in_order(text: str) -> tuple[int, int]:
    address = ip_address(text)
    return address.version, int(address)


def _in_job(standing: Iterable[Standing]) -> dict[str, frozenset[JobOn]]:
    found: dict[str, set[JobOn]] = {}
    for one in standing:
        found.setdefault(one.claim.agent, set()).add(one.claim.job_on)
    return {agent: frozenset(jobs) for agent, jobs in found.items()}


def _taken(address: str, by: str) -> RingfenceError:
    return RingfenceError(
        Kind.CONFLICT,
        f"{address} is that of {by}",
        hint="Give each node, and each tenant on a node, an address of its own; it is free when its last job has left",
    )
