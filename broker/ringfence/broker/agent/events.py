"""What the agent tells of itself: one function an event, which writes the log line and counts it.

Counters are plain numbers until /metrics is asked for: the agent starts without the metrics library.
"""

from __future__ import annotations

from collections import Counter

from ringfence.broker.agent.late_log import emit
from ringfence.broker.attest.launch import Launch
from ringfence.certs.errors import RingfenceError

# (metric, label value) to count; names are listed with their help in agent/pages.py.
COUNTS: Counter[tuple[str, str]] = Counter()


def serving(socket: object) -> None:
    """Workloads can connect."""
    emit("info", "serving", socket=str(socket))


def enrolled(spiffe_id: object, how: str) -> None:
    """The node has an identity of its own."""
    emit("info", "node attested", spiffe_id=str(spiffe_id), how=how)


def pinned(fingerprint: str) -> None:
    """--insecure-bootstrap believed whoever answered first."""
    emit("warning", "server pinned as first seen", sha256=fingerprint, hint="For a trial only: use --bootstrap-bundle")


def waiting(error: RingfenceError, seconds: float) -> None:
    """The first contact with the server failed and is tried again."""
    emit("warning", "waiting for the server", error=str(error), again_in_seconds=round(seconds, 1))


def link_up(address: object) -> None:
    """The stream to the server stands."""
    COUNTS["connects", ""] += 1
    emit("info", "server connected", server=str(address))


def link_lost(error: RingfenceError) -> None:
    """The stream to the server is lost; what is held is served on."""
    COUNTS["disconnects", error.kind.value] += 1
    emit("warning", "server lost", kind=error.kind.value, error=str(error))


def entries(revision: int, count: int, refused: tuple[str, ...]) -> None:
    """The entries changed."""
    COUNTS["entry_updates", ""] += 1
    emit("info", "entries", revision=revision, count=count)
    for reason in refused:
        emit("warning", "entry left out", reason=reason)


def svid_issued(spiffe_id: object, not_after: object) -> None:
    """A workload's SVID arrived."""
    COUNTS["svids", "x509"] += 1
    emit("info", "svid issued", spiffe_id=str(spiffe_id), not_after=str(not_after))


def svid_refused(entry_id: str, detail: str) -> None:
    """The server did not issue an SVID for an entry."""
    COUNTS["svid_failures", "refused"] += 1
    emit("warning", "svid refused", entry=entry_id, detail=detail)


def revoked(identities: int, lifted: int, svids: int) -> None:
    """The server said what is revoked now; so many SVIDs that were held here are served no more."""
    COUNTS["revoked_svids", ""] += svids
    if identities or lifted or svids:  # nothing of ours, otherwise: a list that was signed anew, or our first one
        emit("warning", "revocations", identities=identities, lifted=lifted, svids_dropped=svids)


def connections_cut(count: int) -> None:
    """So many open connections of callers who were revoked are closed."""
    COUNTS["cut_connections", ""] += count
    if count:
        emit("warning", "connections of revoked callers cut", connections=count)


def connections_not_cut(count: int, detail: str) -> None:
    """The kernel does not let us close single connections: the proxies close all of a port, within their drain time."""
    emit("warning", "connections of revoked callers are left to be drained", connections=count, detail=detail)


def connections_left_open(detail: str) -> None:
    """The kernel let us close single connections, so that proxies rely on it, and lets us no more."""
    emit("error", "connections of revoked callers may be open", detail=detail)


def turned_away(error: RingfenceError) -> None:
    """The server will not have this node any more, so that nothing it gave is served any more."""
    COUNTS["turned_away", ""] += 1
    emit("error", "turned away by the server: nothing is served any more", error=str(error))


def renewed(spiffe_id: object, not_after: object) -> None:
    """The agent's own SVID was renewed."""
    emit("info", "agent svid renewed", spiffe_id=str(spiffe_id), not_after=str(not_after))


def renewal_failed(error: Exception) -> None:
    """The agent's own SVID was not renewed; it is tried again."""
    COUNTS["svid_failures", "agent"] += 1
    emit("warning", "agent svid not renewed", error=str(error))


def attested(held_by: str) -> None:
    """A caller was attested. No log line: callers come by the thousand."""
    COUNTS["attestations", held_by] += 1


def holders_told_of() -> None:
    """The kernel tells when a process that holds streams becomes another."""
    emit("info", "callers watched", by="process events")


def holders_looked_at(error: OSError) -> None:
    """It does not, or not any more: they are looked at."""
    hint = "Run the agent in the initial network, PID and user namespaces; before Linux 6.6, with CAP_NET_ADMIN"
    emit("info", "callers watched", by="a look every second", no_process_events=error.strerror, hint=hint)


def process_events_lost() -> None:
    """More processes came and changed than could be read of: all that hold streams are looked at."""
    COUNTS["process_events_lost", ""] += 1


def holder_changed(seen_by: str) -> None:
    """A process that held streams is another program, user or group now, or has ended. No log line: nor had it one."""
    COUNTS["changed_callers", seen_by] += 1


def attestor_failed(name: str, error: Exception) -> None:
    """One attestor could not tell; the others' selectors are used."""
    COUNTS["attestor_failures", name] += 1
    emit("warning", "attestor failed", attestor=name, error=str(error))


def broker_admitted(spiffe_id: object, address: str) -> None:
    """A broker connected."""
    COUNTS["broker_connections", "admitted"] += 1
    emit("info", "broker connected", spiffe_id=str(spiffe_id), address=address)


def broker_refused(address: str, error: RingfenceError) -> None:
    """Somebody with a certificate that TLS took is no broker of ours."""
    COUNTS["broker_connections", "refused"] += 1
    emit("warning", "broker refused", address=address, error=str(error))


def pods_followed(node: str, count: int) -> None:
    """The Kubernetes API tells of the pods of this node (again)."""
    emit("info", "pods followed", node=node, count=count)


def pods_lost(error: Exception) -> None:
    """The Kubernetes API does not; what is known is used on."""
    COUNTS["pod_outages", ""] += 1
    emit("warning", "pods not followed", error=str(error))


def launched(launch: Launch, why: str) -> None:
    """A launcher vouches for its tree; *why* says what kept it from having a cgroup."""
    by = "cgroup" if launch.folder else "parent chain"
    COUNTS["launches", by] += 1
    facts: dict[str, object] = {"cgroup": launch.folder.path} if launch.folder else {"no_cgroup": why}
    facts |= {"rank": launch.rank} if launch.rank is not None else {}
    how = f"{by}, {launch.launcher.held_by}"
    emit(
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
    emit("info", "launch ended", namespace=namespace, name=name, pid=pid)


def launch_cleared(cgroup: str, asked: int, gone: bool) -> None:  # noqa: FBT001  # a fact of the event
    """What a launcher left running was ended: TERM to *asked* processes, then SIGKILL to the cgroup."""
    if gone:
        emit("info", "launch cleared", cgroup=cgroup, asked=asked)
    else:
        emit("warning", "launch not cleared", cgroup=cgroup, asked=asked, hint="See `ps -o pid,stat,wchan`")


def nacked(name: str, detail: str) -> None:
    """An Envoy refused a secret."""
    COUNTS["sds_nacks", ""] += 1
    emit("warning", "secret refused by the proxy", secret=name, detail=detail)


def not_kept(error: Exception) -> None:
    """The cache file could not be written or read; the agent goes on without it."""
    COUNTS["storage_failures", ""] += 1
    emit("error", "state not kept", error=str(error), hint="Free space or check the rights of --data-dir")


def failed(error: Exception) -> None:
    """Something that should not happen did, and was survived."""
    COUNTS["errors", type(error).__name__] += 1
    emit("error", "unexpected error", error=f"{type(error).__name__}: {error}", exc_info=error)


def stopping() -> None:
    """The agent was asked to stop."""
    emit("info", "agent stopping")
