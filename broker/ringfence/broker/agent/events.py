"""What the agent tells of itself: one function an event, which writes the log line and counts it.

Counters are plain numbers until /metrics is asked for: the agent starts without the metrics library.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from ringfence.certs.errors import RingfenceError

# (metric, label value) to count; names are listed with their help in agent/health.py.
COUNTS: Counter[tuple[str, str]] = Counter()


_LEVEL: list[str] = []


@cache
def _log() -> Any:
    from ringfence.broker.log import configure, log  # structlog costs 40 ms that a start need not wait for

    if _LEVEL:
        configure(_LEVEL[0])
    return log


def set_level(level: str) -> None:
    """Log from *level* on, as JSON; without it the embedding program decides."""
    _LEVEL[:] = [level]


def ready(**facts: object) -> None:
    """The agent serves."""
    _log().info("agent ready", **facts)


def enrolled(spiffe_id: object, how: str) -> None:
    """The node has an identity of its own."""
    _log().info("node attested", spiffe_id=str(spiffe_id), how=how)


def pinned(fingerprint: str) -> None:
    """--insecure-bootstrap believed whoever answered first."""
    _log().warning("server pinned as first seen", sha256=fingerprint, hint="Use --bootstrap-bundle outside of a trial")


def waiting(error: RingfenceError, seconds: float) -> None:
    """The first contact with the server failed and is tried again."""
    _log().warning("waiting for the server", error=str(error), again_in_seconds=round(seconds, 1))


def link_up(address: object) -> None:
    """The stream to the server stands."""
    COUNTS["connects", ""] += 1
    _log().info("server connected", server=str(address))


def link_lost(error: RingfenceError) -> None:
    """The stream to the server is lost; what is held is served on."""
    COUNTS["disconnects", error.kind.value] += 1
    _log().warning("server lost", kind=error.kind.value, error=str(error))


def entries(revision: int, count: int, refused: tuple[str, ...]) -> None:
    """The entries changed."""
    COUNTS["entry_updates", ""] += 1
    _log().info("entries", revision=revision, count=count)
    for reason in refused:
        _log().warning("entry left out", reason=reason)


def svid_issued(spiffe_id: object, not_after: object) -> None:
    """A workload's SVID arrived."""
    COUNTS["svids", "x509"] += 1
    _log().info("svid issued", spiffe_id=str(spiffe_id), not_after=str(not_after))


def svid_refused(entry_id: str, detail: str) -> None:
    """The server did not issue an SVID for an entry."""
    COUNTS["svid_failures", "refused"] += 1
    _log().warning("svid refused", entry=entry_id, detail=detail)


def renewed(spiffe_id: object, not_after: object) -> None:
    """The agent's own SVID was renewed."""
    _log().info("agent svid renewed", spiffe_id=str(spiffe_id), not_after=str(not_after))


def renewal_failed(error: Exception) -> None:
    """The agent's own SVID was not renewed; it is tried again."""
    COUNTS["svid_failures", "agent"] += 1
    _log().warning("agent svid not renewed", error=str(error))


def attested(held_by: str) -> None:
    """A caller was attested. No log line: callers come by the thousand."""
    COUNTS["attestations", held_by] += 1


def attestor_failed(name: str, error: Exception) -> None:
    """One attestor could not tell; the others' selectors are used."""
    COUNTS["attestor_failures", name] += 1
    _log().warning("attestor failed", attestor=name, error=str(error))


def launched(namespace: str, name: str, pid: int, how: str) -> None:
    """A launcher vouches for its tree."""
    COUNTS["launches", ""] += 1
    _log().info("launch registered", namespace=namespace, name=name, pid=pid, how=how)


def launch_ended(namespace: str, name: str, pid: int) -> None:
    """A launcher ended, and its tree's identity with it."""
    _log().info("launch ended", namespace=namespace, name=name, pid=pid)


def nacked(name: str, detail: str) -> None:
    """An Envoy refused a secret."""
    COUNTS["sds_nacks", ""] += 1
    _log().warning("secret refused by the proxy", secret=name, detail=detail)


def not_kept(error: Exception) -> None:
    """The cache file could not be written or read; the agent goes on without it."""
    COUNTS["storage_failures", ""] += 1
    _log().error("state not kept", error=str(error), hint="Free space or check the rights of --data-dir")


def failed(error: Exception) -> None:
    """Something that should not happen did, and was survived."""
    COUNTS["errors", type(error).__name__] += 1
    _log().error("unexpected error", error=f"{type(error).__name__}: {error}", exc_info=error)


def stopping() -> None:
    """The agent was asked to stop."""
    _log().info("agent stopping")
