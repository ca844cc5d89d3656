"""What happens to claims on fabrics, in the audit log, the log and the metrics at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringfence.broker import metrics
from ringfence.broker.audit.record import Event
from ringfence.broker.log import log
from ringfence.certs.errors import RingfenceError
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import Standing

_MOST = 256  # characters of what a refused claim says


def admitted(claim: Claim) -> Event:
    """A node's workload is in a job from now on, or with other addresses."""
    return Event("fabric.join", claim.spiffe_id, detail=_detail(claim), actor=claim.agent)


def refused(claim: Claim, error: RingfenceError) -> Event:
    """A claim does not stand."""
    return Event("fabric.join", claim.spiffe_id[:2048], f"refused: {error.detail}", _detail(claim), claim.agent)


def gone(claim: Claim, why: str) -> Event:
    """A claim that stood does so no more."""
    return Event("fabric.leave", claim.spiffe_id, detail={**_detail(claim), "reason": why})


def written(
    came: Sequence[Standing], left: Sequence[tuple[Standing, str]], denied: Mapping[Claim, RingfenceError]
) -> None:
    """All that one transaction changed."""
    for one, why in left:
        metrics.FABRIC_CLAIMS.labels("withdrawn").inc()
        log.info("fabric left", **_detail(one.claim), spiffe_id=one.claim.spiffe_id, reason=why)
    for one in came:
        metrics.FABRIC_CLAIMS.labels("admitted").inc()
        log.info("fabric joined", **_detail(one.claim), spiffe_id=one.claim.spiffe_id)
    for claim, error in denied.items():
        metrics.FABRIC_CLAIMS.labels("refused").inc()
        log.warning("fabric refused", **_detail(claim), spiffe_id=claim.spiffe_id[:_MOST], detail=error.detail)


def nodes_left(agents: Sequence[str]) -> None:
    """Streams of nodes with members ended: they have a while to come back."""
    if agents:
        log.warning("nodes of fabrics are away", agents=list(agents))


def applied(agent: str, revision: int, code: int, detail: str, seconds: float | None) -> None:
    """A node holds what it was told, or says what it does not; *seconds* since it was told."""
    if code:
        metrics.FABRIC_APPLIED.labels("failed").inc()
        log.warning("fabric not applied", agent=agent, revision=revision, detail=detail[:1024])
    else:
        metrics.FABRIC_APPLIED.labels("ok").inc()
        if seconds is not None:
            metrics.FABRIC_APPLY_SECONDS.observe(seconds)


def _detail(claim: Claim) -> dict[str, Any]:
    return {
        "fabric": claim.fabric[:_MOST],
        "job": claim.job[:_MOST],
        "node": claim.agent,
        "entry": claim.entry_id[:_MOST],
        "addresses": [address[:64] for address in claim.addresses[:_MOST]],
    }
