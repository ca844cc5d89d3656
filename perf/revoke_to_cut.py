"""Time from an operator's revocation of an identity to the end of its open TCP connection, its neighbour living on.

Everything is a process of its own, as its command starts it; the agent may reset single connections.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.identities import Identity
from tests.e2e.stack import running_stack
from tests.ports import free_port

from perf.figure import p99
from perf.rounds import Operator, operator
from perf.stand import Stand
from ringfence.admin.v1 import admin_pb2

NAME = "revoke_to_cut"
GOAL = 100.0  # ms
ROUNDS = 100
_TOLD = 0.5  # seconds until a proxy has told the agent of a connection, many times over
INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: nobody, namespace: perf}
spec: {match: [{unix.uid: 4294967294}]}
---
kind: Workload
metadata: {name: web, namespace: shared}
spec: {launch: {by: [{unix.uid: UID}]}, serves: [{name: db, port: DB, protocol: tcp}]}
---
kind: Allow
metadata: {name: callers, namespace: perf}
spec: {from: [{namespace: perf}], to: [{workload: web, namespace: shared, port: db}], owner: o, reason: r}
"""


class _Line:
    """An open connection to the workload's port, through its proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext) -> _Line:
        line = cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="web"))
        await line.use()
        return line

    async def use(self) -> None:
        """Raise unless what is sent comes back."""
        self._writer.write(b"rows")
        async with asyncio.timeout(10):
            if await self._reader.readexactly(4) != b"rows":
                raise RuntimeError("something else came back")

    async def end(self) -> float:
        """When it ends."""
        with suppress(ConnectionError):
            await self._reader.read(1)
        return time.perf_counter()


async def _identity(acting: Operator, folder: Path, name: str) -> tuple[str, str, ssl.SSLContext]:
    entry_id = await acting.create(name)
    call = acting.fetch()
    (svid,) = (await call.read()).svids
    call.cancel()
    return entry_id, svid.spiffe_id, Identity.of(svid).client(folder)


async def _round(acting: Operator, folder: Path, port: int, number: int) -> float:
    """Milliseconds from the call to the end of the connection."""
    entry_id, spiffe_id, context = await _identity(acting, folder, f"caller-{number}")
    line = await _Line.open(port, context)
    await asyncio.sleep(_TOLD)
    ending = asyncio.create_task(line.end())
    begun = time.perf_counter()
    await acting.admin.RevokeIdentities(admin_pb2.RevokeIdentitiesRequest(spiffe_ids=[spiffe_id], reason="measured"))
    async with asyncio.timeout(10):
        took = (await ending - begun) * 1e3
    await acting.delete(entry_id)
    return took


async def _measure(place: Stand, port: int) -> list[float]:
    async with operator(place) as acting:
        entry_id, _, context = await _identity(acting, place.folder, "neighbour")
        neighbour = await _Line.open(port, context)
        await acting.delete(entry_id)  # the process may have no other identity in a round
        times = []
        for number in range(ROUNDS):
            times.append(await _round(acting, place.folder, port, number))
            await neighbour.use()
        return times


def measure() -> dict[str, Any]:
    """The figure `revoke_to_cut`."""
    text = INTENT.replace("UID", str(os.geteuid())).replace("DB", str(free_port()))
    with TemporaryDirectory(prefix="rf-") as folder, running_stack(Path(folder), text) as stack:
        port = stack.workload("shared/web").inbound("db")
        times = asyncio.run(_measure(Stand(stack.folder, stack.listen, stack.server.pid), port))
    what = "identity revoked to the end of its open TCP connection, while its neighbour on the port lives on"
    return p99(NAME, what, times, GOAL)
