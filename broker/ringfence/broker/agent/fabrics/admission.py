"""Whether a workload is in the job on the fabric that it asked for, and why not: decided anew at each change."""

from __future__ import annotations

from datetime import UTC, datetime

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fabrics.holding import Held
from ringfence.broker.agent.fabrics.joins import Join
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.said import Refusal, SaidJob
from ringfence.broker.agent.view import View
from ringfence.broker.status import code_of, kind_of
from ringfence.certs.errors import Kind, RingfenceError

_NOT_YET = "the server has not admitted it yet"


class Admission:
    """Of one stream. A workload that is not in yet waits; one that was in is out with the first reason for it."""

    def __init__(self, keeper: FabricKeeper, join: Join) -> None:
        self._keeper = keeper
        self._join = join

    def ready(self, view: View) -> bool:
        """Whether it is in now, by what *view* entitles it to; claims it where it may be.

        Raises what ends its stream: RingfenceError with the reason why it is in no more, or will not be.
        """
        join, now = self._join, self._keeper.clock()
        # 1. The server has not refused it; what may change by itself is waited for by one that was not in yet.
        refusal = self._refusal()
        if refusal is not None and (join.until or refusal.code == code_of(Kind.DENIED)):
            raise _refused(refusal)
        # 2. A grant that has not ended lets the job use the fabric.
        job = self._keeper.said.job(join.fabric, join.job, now)
        # 3. One of its identities is among those of the grant.
        entry = self._entry(view, job)
        self._keeper.claim(join, entry)
        if entry is None:
            if join.until and view.entries:  # without any entry the view itself says why
                raise self.missing(view)
            return False
        # 4. The node holds it, for its own addresses too, and the ports are closed.
        if self._until(now):
            return join.ports <= self._keeper.done.closed
        # 5. It was in, and nobody has renewed it.
        if join.until and now >= join.until and self._held.addresses:
            ended = datetime.fromtimestamp(join.until, UTC)
            detail = f"its membership ended at {ended:%Y-%m-%dT%H:%M:%SZ}, and the server has not renewed it"
            raise RingfenceError(Kind.DENIED, detail, hint="See why the agent is not connected")
        return False

    def shown(self, view: View) -> object:
        """Equal as long as there is nothing new to say."""
        del view
        return self.answer().SerializeToString(deterministic=True)

    def answer(self) -> admin_pb2.JoinFabricResponse:
        """What the workload is told."""
        join, held, now = self._join, self._held, self._keeper.clock()
        said = self._keeper.said.fabrics.get(join.fabric)
        ends = held.ends(join.job)
        return admin_pb2.JoinFabricResponse(
            fabric=said.document if said is not None else None,
            job=join.job,
            spiffe_id=str(join.entry.spiffe_id) if join.entry is not None else "",
            interfaces=held.interfaces,
            addresses=held.addresses,
            members=[pb.FabricMember(address=address, until=until) for address, until in ends.items()],
            until=self._until(now),
            closed_ports=sorted(join.ports),
        )

    def missing(self, view: View) -> RingfenceError:
        """Why it is not in, as far as that is known here."""
        join, said, job = self._join, self._keeper.said, self._keeper.said.job(*self._asked)
        if join.fabric in said.wrong:
            return said.wrong[join.fabric]
        if job is None and join.until:
            detail = f"this node gives no identity any more that may use fabric {join.fabric} for job {join.job}"
            return RingfenceError(Kind.DENIED, detail, hint="Its FabricGrant has ended, or its entry is gone")
        if job is None:
            detail = f"no grant in force lets an identity of this node use fabric {join.fabric} for job {join.job}"
            return RingfenceError(Kind.DENIED, detail, hint="Write a FabricGrant for it, or a later `expires`")
        if join.entry is None:
            names = ", ".join(sorted({str(entry.spiffe_id) for entry in view.entries}))
            detail = f"job {join.job} on fabric {join.fabric} is for {', '.join(job.spiffe_ids)}, and this is {names}"
            return RingfenceError(Kind.DENIED, detail, hint="Name its workload in the FabricGrant")
        return self._not_held()

    def _not_held(self) -> RingfenceError:
        join, held = self._join, self._held
        if held.error is not None:
            detail = f"fabric {join.fabric} is not in force on this node: {held.error.detail}"
            return RingfenceError(held.error.kind, detail, where=held.error.where, hint=held.error.hint)
        if not held.addresses:
            detail = f"this node has no address on fabric {join.fabric}"
            return RingfenceError(Kind.NOT_FOUND, detail, hint="Give an interface of it one of its `cidrs`")
        refusal = self._refusal()
        if refusal is not None:
            return _refused(refusal)
        job = self._keeper.said.job(*self._asked)
        if job is not None and set(held.addresses) <= job.members.keys():
            detail = "by this node's clock the membership that the server gives has ended"
            return RingfenceError(Kind.UNAVAILABLE, detail, hint="Compare its clock with the server's")
        return RingfenceError(Kind.UNAVAILABLE, _NOT_YET)

    @property
    def _asked(self) -> tuple[str, str, float]:
        return self._join.fabric, self._join.job, self._keeper.clock()

    @property
    def _held(self) -> Held:
        return self._keeper.done.held.get(self._join.fabric, Held())

    def _entry(self, view: View, job: SaidJob | None) -> Entry | None:
        """The one of before as long as it may be, so that nothing changes by a second one."""
        fitting = [entry for entry in view.entries if job is not None and job.takes(str(entry.spiffe_id))]
        had = self._join.entry
        same = (entry for entry in fitting if had is not None and entry.id == had.id)
        return next(same, None) or (fitting[0] if fitting else None)

    def _refusal(self) -> Refusal | None:
        """By an update that came after it was claimed: one from before speaks of another stream's claim."""
        fresh = self._keeper.updates > self._join.claimed_after
        return self._keeper.said.refusals.get(self._join.key) if fresh else None

    def _until(self, now: float) -> int:
        """Until when all of the node's own addresses are members, Unix seconds; 0: not all of them are."""
        held = self._held
        ends = held.ends(self._join.job)
        own = [ends.get(address, 0) for address in held.addresses]
        return min(own) if own and min(own) > now else 0


def _refused(refusal: Refusal) -> RingfenceError:
    return RingfenceError(kind_of(refusal.code), refusal.detail)
