"""A server with 5,000 ADS streams is killed and started again: how soon all are current, and what is sent again."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

from perf.ads_load import raise_file_limit
from perf.ads_peers import line, load_client
from perf.figure import figure
from perf.push_1000 import certificates, piped
from perf.stand import free_address

NAME = "reconnect_5000"
GOAL = 10.0  # s
STREAMS = 5000
_PATIENCE = 120.0  # seconds
SIZE, NODE = 20_480, 55_000  # bytes of the resource, and of what Envoy says of itself on each new stream


def measure(streams: int = STREAMS) -> dict[str, Any]:
    """The figure `reconnect_5000`: the streams are incremental and say what they hold, as Envoy does."""
    raise_file_limit()
    with TemporaryDirectory() as name, ExitStack() as stack:
        certificates(Path(name))
        port = free_address().rpartition(":")[2]
        command = (sys.executable, "-m", "perf.push_servers", "ours", str(streams), name, str(SIZE), "listener", port)
        first = stack.enter_context(piped(*command))
        line(first)
        client = stack.enter_context(piped(load_client(), "delta", port, str(streams), name, str(NODE)))
        if line(client) != "ready":
            raise RuntimeError("the streams did not connect")
        started = time.perf_counter()
        first.kill()
        first.wait()
        stack.enter_context(piped(*command))
        giving_up = Timer(_PATIENCE, client.kill)
        giving_up.start()
        said = line(client)
        giving_up.cancel()
        if not said:
            raise RuntimeError(f"not all of {streams} streams were back after {_PATIENCE:g} s")
        found, seconds = json.loads(said), time.perf_counter() - started
    return figure(
        NAME,
        (
            f"a server killed and started again under {found['streams']} incremental streams over mTLS, each with a "
            f"node of {NODE // 1000} KB, until all have its answer; {found['resent']} resources sent again, of "
            f"{found['streams']} that had not changed"
        ),
        seconds,
        unit="s",
        runs=[seconds],
        goal=f"<= {GOAL:g} s, 0 sent again",
        met=seconds <= GOAL and found["resent"] == 0,
    )
