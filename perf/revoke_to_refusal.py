"""Time from an operator's revocation of an identity to its refusal at an Envoy and to the end of its open stream.

Everything is a process of its own, as its command starts it; each round revokes an identity that was just given.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import grpc.aio
from tests.e2e.identities import Identity
from tests.e2e.mesh import Http
from tests.e2e.stack import running_stack
from tests.ports import free_port

from perf.figure import p99
from perf.rounds import Operator, operator
from perf.stand import Stand
from ringfence.admin.v1 import admin_pb2

NAME = "revoke_to_refusal"
GOAL = 150.0  # ms
ROUNDS = 100
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
spec: {launch: {by: [{unix.uid: UID}]}, serves: [{name: http, port: WEB, protocol: http}]}
---
kind: Allow
metadata: {name: callers, namespace: perf}
spec: {from: [{namespace: perf}], to: [{workload: web, namespace: shared, port: http}], owner: o, reason: r}
"""


async def _round(acting: Operator, folder: Path, port: int, number: int) -> tuple[float, float]:
    """Milliseconds from the call to the first 403 on the open connection, and to the stream's PERMISSION_DENIED."""
    # 1. An identity, its stream, and a connection that is served.
    entry_id = await acting.create(f"caller-{number}")
    call = acting.fetch()
    (svid,) = (await call.read()).svids
    context = Identity.of(svid).client(folder)
    http = await Http.connect(port, context)
    if (status := await http.get()) != 200:
        raise RuntimeError(f"the caller is answered {status}")
    # 2. The revocation.
    watching = [asyncio.create_task(_refused(port, context, http)), asyncio.create_task(_ended(call))]
    begun = time.perf_counter()
    revoking = asyncio.create_task(_revoke(acting, svid.spiffe_id))
    async with asyncio.timeout(10):
        refused, ended = [(at - begun) * 1e3 for at in await asyncio.gather(*watching)]
    await revoking
    # 3. The process may have no other identity, or its next stream would go on.
    await acting.delete(entry_id)
    return refused, ended


async def _revoke(acting: Operator, spiffe_id: str) -> None:
    await acting.admin.RevokeIdentities(admin_pb2.RevokeIdentitiesRequest(spiffe_ids=[spiffe_id], reason="measured"))


async def _refused(port: int, context: ssl.SSLContext, http: Http) -> float:
    """When the first request is; on a new connection, where a draining chain has just said that it closes this."""
    with ExitStack() as stack:
        stack.callback(http.close)
        while True:
            try:
                if await http.get() == 403:  # Forbidden
                    return time.perf_counter()
            except (OSError, EOFError):
                http = await Http.connect(port, context)
                stack.callback(http.close)


async def _ended(call: Any) -> float:
    with suppress(grpc.aio.AioRpcError):
        await call.read()
    at = time.perf_counter()
    if await call.code() is not grpc.StatusCode.PERMISSION_DENIED:
        raise RuntimeError(f"the stream ended with {await call.code()}")
    return at


async def _measure(place: Stand, port: int) -> list[tuple[float, float]]:
    async with operator(place) as acting:
        return [await _round(acting, place.folder, port, number) for number in range(ROUNDS)]


def measure() -> dict[str, Any]:
    """The figure `revoke_to_refusal`: the later of the two."""
    text = INTENT.replace("UID", str(os.geteuid())).replace("WEB", str(free_port()))
    with TemporaryDirectory(prefix="rf-") as folder, running_stack(Path(folder), text) as stack:
        port = stack.workload("shared/web").inbound("http")
        pairs = asyncio.run(_measure(Stand(stack.folder, stack.listen, stack.server.pid), port))
    refused, ended = zip(*pairs, strict=True)
    medians = f"medians: {statistics.median(refused):.1f} and {statistics.median(ended):.1f} ms"
    what = f"identity revoked to 403 at an Envoy and to the end of its stream, the later ({medians})"
    return p99(NAME, what, [max(pair) for pair in pairs], GOAL)
