"""What a server does by itself: rotate its authority, renew its own SVID, forget what has ended."""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection

from ringfence.broker.log import log
from ringfence.broker.server.parts import Parts
from ringfence.broker.store import ledger, nodes
from ringfence.certs.errors import RingfenceError
from ringfence.certs.rotation import Step

INTERVAL = 5.0  # seconds between two looks at the clock, as SPIRE's
_FORGET_EVERY = 720  # looks, an hour
_KEPT = 24 * 3600  # seconds past its end that an SVID stays in the ledger and an agent is remembered


async def keep_up(parts: Parts, *, interval: float = INTERVAL) -> None:
    """Look at the clock every *interval* seconds until cancelled; a failure is logged and tried again."""
    looks = 0
    while True:
        try:
            await look(parts)
            if looks % _FORGET_EVERY == 0:
                await parts.store.run(_forget, int(parts.clock().timestamp()) - _KEPT)
        except RingfenceError as error:
            log.error("upkeep failed", detail=error.detail, where=error.where, hint=error.hint)
        looks += 1
        await asyncio.sleep(interval)


async def look(parts: Parts) -> None:
    """Do what is due now."""
    if parts.registry.ended(parts.clock().timestamp()):
        # What grants nothing any more, to the server and to agents, also goes from the disk and from lists.
        await parts.admin_api.entries.prune_ended()
    step = await parts.trust.step()
    if step is Step.ACTIVATE or parts.identity.due():
        await parts.identity.renew()


def _forget(connection: Connection, before: int) -> None:
    ledger.prune(connection, before)
    nodes.forget(connection, before)
