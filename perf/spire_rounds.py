"""Rounds with an entry on a real SPIRE: the ones that figures about entries take with ours, and few of them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from perf import spire
from perf.rounds import Acting
from perf.stand import OWN_UID
from ringfence.proto import workload
from ringfence.proto.client import Client

ROUNDS = 5  # each takes as long as SPIRE's agent waits between two looks at its server
_LOOK_SECONDS = 0.1

Rounds = Callable[[Acting, Path, int], Awaitable[list[float]]]  # of so many, with the Workload API's socket


@dataclass(frozen=True, slots=True)
class SpireOperator:
    """SPIRE's command line and its agent's Workload API."""

    peer: spire.Spire
    workload: Client
    _names: dict[str, str] = field(default_factory=dict)  # by entry id

    async def create(self, name: str) -> str:
        """An entry `/ns/perf/sa/NAME` for processes of our own user; its id."""
        entry_id = await asyncio.to_thread(self.peer.entry, f"ns/perf/sa/{name}", OWN_UID)
        self._names[entry_id] = f"/ns/perf/sa/{name}"
        return entry_id

    async def delete(self, entry_id: str) -> None:
        """Delete that entry, and wait until the agent knows: the next round begins without it."""
        await asyncio.to_thread(self.peer.command, "entry", "delete", "-entryID", entry_id)
        while any(shown.endswith(self._names[entry_id]) for shown in await self._shown()):  # noqa: ASYNC110 - no event
            await asyncio.sleep(_LOOK_SECONDS)

    def fetch(self) -> Any:
        """A stream of FetchX509SVID."""
        return self.workload.FetchX509SVID(workload.X509SVIDRequest(), metadata=(workload.SECURITY_HEADER,))

    async def opened(self) -> Any:
        """Such a stream once there is anything on it: SPIRE's agent ends one that comes too early."""
        while not await self._shown():  # noqa: ASYNC110 - SPIRE tells of no event
            await asyncio.sleep(_LOOK_SECONDS)
        call = self.fetch()
        await call.read()
        return call

    async def _shown(self) -> list[str]:
        call = self.fetch()
        try:
            return [svid.spiffe_id for svid in (await call.read()).svids]
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise
            return []
        finally:
            call.cancel()


def beside_spire(figure: dict[str, Any], rounds: Rounds) -> dict[str, Any]:
    """*figure* with the median of SPIRE's rounds beside it, if peers are wanted."""
    if not spire.wanted():
        return figure
    with spire.spire() as peer:
        times = asyncio.run(_times(peer, rounds))
    value = statistics.median(times)
    what = f"{spire.described(measured=True)}, median of {len(times)}"
    return {**figure, "limit": {"what": what, "value": value}, "ratio": statistics.median(figure["runs"]) / value}


async def _times(peer: spire.Spire, rounds: Rounds) -> list[float]:
    async with grpc.aio.insecure_channel(f"unix:{peer.socket}") as channel:
        return await rounds(SpireOperator(peer, Client(channel, workload.DESCRIPTOR)), peer.socket, ROUNDS)
