"""Where SPIRE servers below ask: the same calls as on `--listen`, by the name that SPIRE knows a server by."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from ringfence.broker.address import Address
from ringfence.broker.http import cannot_listen
from ringfence.broker.log import log
from ringfence.broker.nested.below import DownstreamApi
from ringfence.broker.nested.choice import SERVER_PATHS
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.server.metered import metered
from ringfence.broker.server.parts import Parts
from ringfence.broker.status import hidden
from ringfence.certs.errors import RingfenceError
from ringfence.proto.lane import Lane

_INTERVAL = 5.0  # seconds between two looks at the clock


async def serve_spire(address: Address, parts: Parts, stack: AsyncExitStack, *, drain_seconds: float) -> Address:
    """Listen until *stack* ends; raises UNAVAILABLE, and what issuing raises."""
    identity = ServerIdentity(parts.trust, parts.issuer, "", clock=parts.clock, path=SERVER_PATHS["spire"])
    await identity.renew()
    below = DownstreamApi(parts.store, parts.registry, parts.trust, parts.clock, parts.audit)
    lane = Lane(metered(below.methods()), on_error=hidden, on_connect=parts.doorkeeper.admit)
    stack.push_async_callback(lane.drain, drain_seconds)
    try:
        port = await lane.listen_tcp(address.host, address.port, identity.context)
    except OSError as error:
        raise cannot_listen(str(address), error, flag="--spire-listen") from error
    stack.callback(asyncio.create_task(_keep_renewed(identity, parts)).cancel)
    return Address(address.host, port)


async def _keep_renewed(identity: ServerIdentity, parts: Parts) -> None:
    """At half of the SVID's life, and at once when another authority signs."""
    signer = parts.trust.authority.x509.current
    with parts.agent_api.bell.listen() as changed:
        while True:
            changed.clear()
            newest = parts.trust.authority.x509.current
            if newest is not signer or identity.due():
                try:
                    await identity.renew()
                    signer = newest
                except RingfenceError as error:
                    log.error("the SVID for SPIRE servers was not renewed", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await changed.wait()
