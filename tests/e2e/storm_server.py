"""A control plane alone, for tests of many streams: `python -m tests.e2e.storm_server FOLDER PORT`; says `ready`.

FOLDER holds what it presents (`server.pem`) and whom it trusts (`roots.pem`). It keeps nothing, so that to kill it is
the worst that can happen.
"""

from __future__ import annotations

import logging
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvloop

from ringfence.broker.fleet.ads import ProxyApi
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.status import hidden
from ringfence.proto.lane import Lane
from ringfence.xds.compile import compile_snapshot
from tests.broker.fleet.world import MESH, PULL, MemoryLog, model


def now() -> datetime:
    """The real time, by which TLS judges too."""
    return datetime.now(UTC)


async def serve(folder: Path, port: int) -> None:
    """Until killed."""
    fleet = Fleet(compile_snapshot, MemoryLog(), clock=now)
    await fleet.restore()
    fleet.apply(model(MESH + PULL, now=now()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(folder / "roots.pem")
    context.load_cert_chain(folder / "server.pem")
    lane = Lane(ProxyApi(fleet, now).methods(), on_error=hidden)
    await lane.listen_tcp("127.0.0.1", port, lambda: context)
    print("ready", flush=True)  # noqa: T201  # who started it waits for that
    await fleet.run()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
