"""Makes the keeper of a node's fabrics, with what was known before, and tells it of the server's word."""

from __future__ import annotations

from ringfence.broker.agent.cache import Cache, Clock
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.work import Work
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.storage import DataFolder


async def keeper_of(folder: DataFolder, link: Link, cache: Cache, clock: Clock) -> FabricKeeper:
    """The keeper, restored, and told by *link* from now on."""
    keeper = FabricKeeper(Work(folder, lambda: clock().timestamp()), link, lambda: clock().timestamp())
    await keeper.restore()
    cache.hooks.fabrics = keeper.on_update
    link.on_connected = keeper.on_connected
    return keeper
