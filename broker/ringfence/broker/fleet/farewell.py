"""The last word to a proxy whose identity is revoked: nothing is its any more, so that it lets go of what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ringfence.proto.lane import Call
from ringfence.xds.discovery import Node
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.steps import Machine
from ringfence.xds.types import LISTENER

PATIENCE = 5.0  # seconds in which it asks for its listeners, or learns nothing
_NOTHING = Snapshot({}, "")


async def let_go(call: Call, machine_for: Callable[[Node], Machine], first: Any, patience: float = PATIENCE) -> None:
    """Answer what it asks for with nothing, in whichever order it asks, until it has asked for its listeners.

    Without them nobody reaches its workload, and its workload nobody. *first* is the request that was read, or None.
    The caller of this ends the stream.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            request = first or await call.receive()
            if request is None or request.node is None:
                return
            machine = machine_for(request.node)
            while request is not None:
                for out in machine.receive(request, _NOTHING):
                    await call.send(out.payload)
                request = await call.receive() if request.type_url != LISTENER else None
