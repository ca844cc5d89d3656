"""What a server does by itself: rotate its authority, renew its own SVID, forget what has ended."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from ringfence.broker.log import log
from ringfence.broker.server.parts import Parts
from ringfence.broker.store import endpoints, fabric_claims, ledger, nodes
from ringfence.certs.errors import RingfenceError
from ringfence.certs.rotation import Step
from ringfence.fabric.membership import GRACE

INTERVAL = 5.0  # seconds between two looks at the clock, as SPIRE's
_LOOKS_A_LIFE = 60  # at least: an authority of seconds is not to end between two of them
_FORGET_EVERY, _TEND_EVERY = 60, 12  # looks: five minutes, one minute
_BREATH = 0.05  # seconds between two batches that are forgotten: issuing goes first
_MOST_STEPS = 3  # of the authority at one look: what one kind prepares does not keep the other from being activated
_KEPT = 24 * 3600  # seconds past the end of its SVID that an agent is remembered


def interval_for(ca_ttl: timedelta) -> float:
    """Seconds between two looks, for authorities that live *ca_ttl*."""
    return min(INTERVAL, ca_ttl.total_seconds() / _LOOKS_A_LIFE)


async def keep_up(parts: Parts, *, retention: float, interval: float = INTERVAL) -> None:
    """Look at the clock every *interval* seconds until cancelled; a failure is logged and tried again.

    *retention* is how many seconds past its end an SVID stays in the ledger.
    """
    looks = 0
    while True:
        try:
            await look(parts)
            if looks % _TEND_EVERY == 0 and await parts.servers.on_duty():
                await tend(parts)
                if looks % _FORGET_EVERY == 0:
                    await forget(parts, retention)
        except RingfenceError as error:
            log.error("upkeep failed", detail=error.detail, where=error.where, hint=error.hint)
        looks += 1
        await asyncio.sleep(interval)


async def look(parts: Parts) -> None:
    """Do what is due now."""
    if parts.registry.ended(parts.clock().timestamp()):
        # What grants nothing any more, to the server and to agents, also goes from the disk and from lists.
        await parts.admin_api.entries.prune_ended(parts.audit)
    await parts.servers.show(parts.trust.bundle.sequence)  # after a start, or when that failed before
    await parts.revoker.keep()
    for _ in range(_MOST_STEPS):
        if (step := await parts.trust.step()) is Step.ACTIVATE:
            await parts.identity.renew()
        if step is Step.WAIT:
            break
    if parts.identity.due():
        await parts.identity.renew()


async def tend(parts: Parts) -> None:
    """Let go of what servers have left behind that are gone: one does it for all."""
    for server in await parts.servers.missing():
        if dropped := await parts.store.run(endpoints.remove_of, server):
            log.warning("endpoints of a server that is gone", server=server, dropped=dropped)
            await parts.feed.catch_up()
        if left := await parts.store.run(fabric_claims.orphan, server, int(parts.clock().timestamp()) + GRACE):
            log.warning("nodes of fabrics whose server is gone", server=server, nodes=len(left))
            await parts.feed.catch_up()
    await parts.trust.drop_retired()


async def forget(parts: Parts, retention: float) -> None:
    """Drop what ended longer ago than that, a small batch at a time."""
    now = int(parts.clock().timestamp())
    forgotten = ledger.BATCH
    while forgotten == ledger.BATCH:
        forgotten = await parts.store.run(ledger.prune, now - int(retention))
        await asyncio.sleep(_BREATH)
    await parts.store.run(nodes.forget, now - _KEPT)
