"""What the agent tells of its node's fabrics: one function an event, as in agent/events.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringfence.broker.agent.events import COUNTS
from ringfence.broker.agent.late_log import emit
from ringfence.certs.errors import RingfenceError

if TYPE_CHECKING:
    from ringfence.broker.agent.fabrics.work import Done


def said(revision: int, fabrics: tuple[str, ...], refusals: int) -> None:
    """The server said which fabrics there are and who is in their jobs."""
    COUNTS["fabric_updates", ""] += 1
    emit("debug", "fabrics", revision=revision, fabrics=list(fabrics), refusals=refusals)


def not_restored(error: RingfenceError) -> None:
    """What the agent knew of fabrics before it was started is lost; what the node holds of them stays."""
    COUNTS["fabric_failures", "restore"] += 1
    emit("error", "fabrics not restored", error=str(error))


def held(fabric: str, interfaces: tuple[str, ...], members: dict[str, int]) -> None:
    """The node holds a fabric, with so many members of each job."""
    COUNTS["fabric_changes", ""] += 1
    emit("info", "fabric held", fabric=fabric, interfaces=list(interfaces), members=members)


def absent(fabric: str) -> None:
    """The node has no interface of a fabric any more; what there is of its filter stays for when one comes back."""
    emit("warning", "fabric absent", fabric=fabric)


def removed(fabric: str) -> None:
    """A fabric is no more, and the node has nothing of it."""
    emit("info", "fabric removed", fabric=fabric)


def failed(fabric: str, error: RingfenceError) -> None:
    """The node does not hold a fabric as it is to be; what it held is still in force there, and it is tried again."""
    COUNTS["fabric_failures", "apply"] += 1
    emit("error", "fabric not held", **({"fabric": fabric} if fabric else {}), error=str(error))


def joined(fabric: str, job: str, spiffe_id: object, pid: int) -> None:
    """A workload takes part in a job on a fabric."""
    COUNTS["fabric_joins", "admitted"] += 1
    emit("info", "fabric joined", fabric=fabric, job=job, spiffe_id=str(spiffe_id), pid=pid)


def left(fabric: str, job: str, pid: int, why: str) -> None:
    """It does no more, or it never did."""
    COUNTS["fabric_joins", "ended"] += 1
    emit("info", "fabric left", fabric=fabric, job=job, pid=pid, why=why)


def node_changes_untold(error: OSError) -> None:
    """The kernel does not tell of changes of interfaces and routes: they are looked for."""
    hint = "Let the agent open netlink sockets: under systemd, RestrictAddressFamilies= with AF_NETLINK"
    emit("warning", "changes of the node not told", error=error.strerror, by="a look every two seconds", hint=hint)


def ports_closed(ports: frozenset[int]) -> None:
    """These TCP ports are closed to all but this node, and no others."""
    emit("info", "ports closed", ports=sorted(ports))


def changed(before: Done, done: Done) -> None:
    """The node holds something else than it did, or fails to in another way."""
    for key, now in done.held.items():
        had = before.held.get(key)
        if now.error is not None and (had is None or str(had.error) != str(now.error)):
            failed(key, now.error)
        elif now.error is None and now.interfaces and (had is None or had.shown != now.shown):
            held(key, now.interfaces, {one.job: len(one.members) for one in now.members})
        elif now.error is None and had is not None and had.interfaces and not now.interfaces:
            absent(key)
    for key in done.removed:
        removed(key)
    for error in done.failures:
        failed("", error)
    if done.closed != before.closed:
        ports_closed(done.closed)
