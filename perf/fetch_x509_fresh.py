"""Time of FetchX509SVID on a fresh connection, attestation included, beside a bare server that attests nobody."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from perf.figure import within_limit
from perf.stand import OWN_UID, stand, started

NAME = "fetch_x509_fresh"
GOAL = 1.2
RUNS = 5
CALLS = 300  # a run, ours and the limit alternating, so that both meet the same machine
METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
HEADER = (("workload.spiffe.io", "true"),)
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


def fetch(path: Path) -> bytes:
    """The first message of a stream on a connection of its own."""
    with grpc.insecure_channel(f"unix:{path}", options=_OPTIONS) as channel:
        call: Any = _open(channel)(b"", metadata=HEADER, wait_for_ready=True, timeout=10)
        answer: bytes = next(call)
        call.cancel()
        return answer


def _open(channel: Any) -> Any:
    return channel.unary_stream(METHOD)


def _timed(path: Path) -> float:
    started_at = time.perf_counter()
    fetch(path)
    return (time.perf_counter() - started_at) * 1e3


async def _serve_bare(path: str, answer: bytes) -> None:
    async def handler(_request: bytes, context: Any) -> None:
        await context.write(answer)
        await asyncio.get_running_loop().create_future()

    service, method = METHOD.strip("/").split("/")
    server = grpc.aio.server()
    handlers = {method: grpc.unary_stream_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await server.wait_for_termination()


def measure() -> dict[str, Any]:
    """The figure `fetch_x509_fresh`."""
    with stand() as place, place.agent():
        place.command("entry", "create", "--spiffe-id", "spiffe://example.org/ns/a/sa/w", "--selector", OWN_UID)
        answer = place.folder / "answer"
        answer.write_bytes(fetch(place.socket))
        bare = place.folder / "bare.sock"
        command = [sys.executable, "-m", "perf.fetch_x509_fresh", str(bare), str(answer)]
        with started(command, place.folder / "bare.log"):
            pairs = _pairs(place.socket, bare)
    return within_limit(
        NAME,
        "FetchX509SVID, fresh connection, attestation included, cached entry, p50",
        pairs,
        unit="ms",
        limit="a bare grpc.aio server-stream call on a Unix socket that attests nobody",
        goal=GOAL,
    )


def _pairs(ours: Path, bare: Path) -> list[tuple[float, float]]:
    for _ in range(CALLS // 10):  # warms both
        fetch(ours), fetch(bare)
    pairs = []
    for _ in range(RUNS):
        times = [(_timed(ours), _timed(bare)) for _ in range(CALLS)]
        mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        pairs.append((mine, theirs))
    return pairs


if __name__ == "__main__":
    uvloop.run(_serve_bare(sys.argv[1], Path(sys.argv[2]).read_bytes()))
