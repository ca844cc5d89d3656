"""What the agent tells of itself: one function an event, which writes the log line and counts it.

Counters are plain numbers until /metrics is asked for: the agent starts without the metrics library.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ringfence.broker.attest.launch import Launch
from ringfence.certs.errors import RingfenceError

# (metric, label value) to count; names are listed with their help in agent/health.py.
COUNTS: Counter[tuple[str, str]] = Counter()


_LEVEL: list[str] = []
_HELD: list[tuple[float, str, str, dict[str, Any]]] = []
_DELAY = 0.3  # seconds that a start goes before the 40 ms which the logging library takes to load


def set_level(level: str) -> None:
    """Log from *level* on, as JSON; without it the embedding program decides."""
    _LEVEL[:] = [level]


def flush() -> None:
    """Write what was held back; at the latest when the process ends."""
    held, _HELD[:] = tuple(_HELD), []
    if not held:
        return
    from ringfence.broker.log import configure, log

    if _LEVEL:
        configure(_LEVEL.pop())
    for when, level, event, facts in held:
        getattr(log, level)(event, at=datetime.fromtimestamp(when, UTC).isoformat(), **facts)


def _emit(level: str, event: str, **facts: Any) -> None:
    if "ringfence.broker.log" in sys.modules and not _HELD:
        from ringfence.broker.log import log

        getattr(log, level)(event, **facts)
        return
    if not _HELD:
        with suppress(RuntimeError):  # no loop: whoever ends the process flushes
            asyncio.get_running_loop().call_later(_DELAY, flush)
    _HELD.append((time.time(), level, event, facts))


def serving(socket: object) -> None:
    """Workloads can connect."""
    _emit("info", "serving", socket=str(socket))


def enrolled(spiffe_id: object, how: str) -> None:
    """The node has an identity of its own."""
    _emit("info", "node attested", spiffe_id=str(spiffe_id), how=how)


def pinned(fingerprint: str) -> None:
    """--insecure-bootstrap believed whoever answered first."""
    _emit("warning", "server pinned as first seen", sha256=fingerprint, hint="For a trial only: use --bootstrap-bundle")


def waiting(error: RingfenceError, seconds: float) -> None:
    """The first contact with the server failed and is tried again."""
    _emit("warning", "waiting for the server", error=str(error), again_in_seconds=round(seconds, 1))


def link_up(address: object) -> None:
    """The stream to the server stands."""
    COUNTS["connects", ""] += 1
    _emit("info", "server connected", server=str(address))


def link_lost(error: RingfenceError) -> None:
    """The stream to the server is lost; what is held is served on."""
    COUNTS["disconnects", error.kind.value] += 1
    _emit("warning", "server lost", kind=error.kind.value, error=str(error))


def entries(revision: int, count: int, refused: tuple[str, ...]) -> None:
    """The entries changed."""
    COUNTS["entry_updates", ""] += 1
    _emit("info", "entries", revision=revision, count=count)
    for reason in refused:
        _emit("warning", "entry left out", reason=reason)


def svid_issued(spiffe_id: object, not_after: object) -> None:
    """A workload's SVID arrived."""
    COUNTS["svids", "x509"] += 1
    _emit("info", "svid issued", spiffe_id=str(spiffe_id), not_after=str(not_after))


def svid_refused(entry_id: str, detail: str) -> None:
    """The server did not issue an SVID for an entry."""
    COUNTS["svid_failures", "refused"] += 1
    _emit("warning", "svid refused", entry=entry_id, detail=detail)


def revoked(identities: int, lifted: int, svids: int) -> None:
    """The server said what is revoked now; so many SVIDs that were held here are served no more."""
    COUNTS["revoked_svids", ""] += svids
    if identities or lifted or svids:  # nothing of ours, otherwise: a list that was signed anew, or our first one
        _emit("warning", "revocations", identities=identities, lifted=lifted, svids_dropped=svids)


def connections_cut(count: int) -> None:
    """So many open connections of callers who were revoked are closed."""
    COUNTS["cut_connections", ""] += count
    if count:
        _emit("warning", "connections of revoked callers cut", connections=count)


def connections_not_cut(count: int, detail: str) -> None:
    """The kernel does not let us close single connections: the proxies close all of a port, within their drain time."""
    _emit("warning", "connections of revoked callers are left to be drained", connections=count, detail=detail)


def connections_left_open(detail: str) -> None:
    """The kernel let us close single connections, so that proxies rely on it, and lets us no more."""
    _emit("error", "connections of revoked callers may be open", detail=detail)


def turned_away(error: RingfenceError) -> None:
    """The server will not have this node any more, so that nothing it gave is served any more."""
    COUNTS["turned_away", ""] += 1
    _emit("error", "turned away by the server: nothing is served any more", error=str(error))


def renewed(spiffe_id: object, not_after: object) -> None:
    """The agent's own SVID was renewed."""
    _emit("info", "agent svid renewed", spiffe_id=str(spiffe_id), not_after=str(not_after))


def renewal_failed(error: Exception) -> None:
    """The agent's own SVID was not renewed; it is tried again."""
    COUNTS["svid_failures", "agent"] += 1
    _emit("warning", "agent svid not renewed", error=str(error))


def attested(held_by: str) -> None:
    """A caller was attested. No log line: callers come by the thousand."""
    COUNTS["attestations", held_by] += 1


def holders_told_of() -> None:
    """The kernel tells when a process that holds streams becomes another."""
    _emit("info", "callers watched", by="process events")


def holders_looked_at(error: OSError) -> None:
    """It does not, or not any more: they are looked at."""
    hint = "Run the agent in the initial network, PID and user namespaces; before Linux 6.6, with CAP_NET_ADMIN"
    _emit("info", "callers watched", by="a look every second", no_process_events=error.strerror, hint=hint)


def process_events_lost() -> None:
    """More processes came and changed than could be read of: all that hold streams are looked at."""
    COUNTS["process_events_lost", ""] += 1


def holder_changed(seen_by: str) -> None:
    """A process that held streams is another program, user or group now, or has ended. No log line: nor had it one."""
    COUNTS["changed_callers", seen_by] += 1


def attestor_failed(name: str, error: Exception) -> None:
    """One attestor could not tell; the others' selectors are used."""
    COUNTS["attestor_failures", name] += 1
    _emit("warning", "attestor failed", attestor=name, error=str(error))


def broker_admitted(spiffe_id: object, address: str) -> None:
    """A broker connected."""
    COUNTS["broker_connections", "admitted"] += 1
    _emit("info", "broker connected", spiffe_id=str(spiffe_id), address=address)


def broker_refused(address: str, error: RingfenceError) -> None:
    """Somebody with a certificate that TLS took is no broker of ours."""
    COUNTS["broker_connections", "refused"] += 1
    _emit("warning", "broker refused", address=address, error=str(error))


def pods_followed(node: str, count: int) -> None:
    """The Kubernetes API tells of the pods of this node (again)."""
    _emit("info", "pods followed", node=node, count=count)


def pods_lost(error: Exception) -> None:
    """The Kubernetes API does not; what is known is used on."""
    COUNTS["pod_outages", ""] += 1
    _emit("warning", "pods not followed", error=str(error))


def launched(launch: Launch, why: str) -> None:
    """A launcher vouches for its tree; *why* says what kept it from having a cgroup."""
    by = "cgroup" if launch.folder else "parent chain"
    COUNTS["launches", by] += 1
    facts: dict[str, object] = {"cgroup": launch.folder.path} if launch.folder else {"no_cgroup": why}
    facts |= {"rank": launch.rank} if launch.rank is not None else {}
    how = f"{by}, {launch.launcher.held_by}"
    _emit(
        "info",
        "launch registered",
        namespace=launch.namespace,
        name=launch.name,
        pid=launch.launcher.pid,
        how=how,
        **facts,
    )


def launch_ended(namespace: str, name: str, pid: int) -> None:
    """A launcher ended, and its tree's identity with it."""
    _emit("info", "launch ended", namespace=namespace, name=name, pid=pid)


def launch_cleared(cgroup: str, asked: int, gone: bool) -> None:  # noqa: FBT001  # a fact of the event
    """What a launcher left running was ended: TERM to *asked* processes, then SIGKILL to the cgroup."""
    if gone:
        _emit("info", "launch cleared", cgroup=cgroup, asked=asked)
    else:
        _emit("warning", "launch not cleared", cgroup=cgroup, asked=asked, hint="See `ps -o pid,stat,wchan`")


def fabrics_said(revision: int, fabrics: tuple[str, ...], refusals: int) -> None:
    """The server said which fabrics there are and who is in their jobs."""
    COUNTS["fabric_updates", ""] += 1
    _emit("debug", "fabrics", revision=revision, fabrics=list(fabrics), refusals=refusals)


def fabrics_not_restored(error: RingfenceError) -> None:
    """What the agent knew of fabrics before it was started is lost; what the node holds of them stays."""
    COUNTS["fabric_failures", "restore"] += 1
    _emit("error", "fabrics not restored", error=str(error))


def fabric_held(fabric: str, interfaces: tuple[str, ...], members: dict[str, int]) -> None:
    """The node holds a fabric, with so many members of each job."""
    COUNTS["fabric_changes", ""] += 1
    _emit("info", "fabric held", fabric=fabric, interfaces=list(interfaces), members=members)


def fabric_removed(fabric: str) -> None:
    """A fabric is no more, and the node has nothing of it."""
    _emit("info", "fabric removed", fabric=fabric)


def fabric_failed(fabric: str, error: RingfenceError) -> None:
    """The node does not hold a fabric as it is to be; what it held is still in force there, and it is tried again."""
    COUNTS["fabric_failures", "apply"] += 1
    _emit("error", "fabric not held", **({"fabric": fabric} if fabric else {}), error=str(error))


def fabric_joined(fabric: str, job: str, spiffe_id: object, pid: int) -> None:
    """A workload takes part in a job on a fabric."""
    COUNTS["fabric_joins", "admitted"] += 1
    _emit("info", "fabric joined", fabric=fabric, job=job, spiffe_id=str(spiffe_id), pid=pid)


def fabric_left(fabric: str, job: str, pid: int, why: str) -> None:
    """It does no more, or it never did."""
    COUNTS["fabric_joins", "ended"] += 1
    _emit("info", "fabric left", fabric=fabric, job=job, pid=pid, why=why)


def node_changes_untold(error: OSError) -> None:
    """The kernel does not tell of changes of interfaces and routes: they are looked for."""
    hint = "Let the agent open netlink sockets: under systemd, RestrictAddressFamilies= with AF_NETLINK"
    _emit("warning", "changes of the node not told", error=error.strerror, by="a look every two seconds", hint=hint)


def ports_closed(ports: frozenset[int]) -> None:
    """These TCP ports are closed to all but this node, and no others."""
    _emit("info", "ports closed", ports=sorted(ports))


def nacked(name: str, detail: str) -> None:
    """An Envoy refused a secret."""
    COUNTS["sds_nacks", ""] += 1
    _emit("warning", "secret refused by the proxy", secret=name, detail=detail)


def not_kept(error: Exception) -> None:
    """The cache file could not be written or read; the agent goes on without it."""
    COUNTS["storage_failures", ""] += 1
    _emit("error", "state not kept", error=str(error), hint="Free space or check the rights of --data-dir")


def failed(error: Exception) -> None:
    """Something that should not happen did, and was survived."""
    COUNTS["errors", type(error).__name__] += 1
    _emit("error", "unexpected error", error=f"{type(error).__name__}: {error}", exc_info=error)


def stopping() -> None:
    """The agent was asked to stop."""
    _emit("info", "agent stopping")
