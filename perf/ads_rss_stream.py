"""Memory of the server for an ADS stream over mTLS whose node is as big as Envoy's, beside go-control-plane."""

from __future__ import annotations

import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from perf import spire
from perf.ads_load import raise_file_limit
from perf.ads_peers import beside, ours, theirs
from perf.push_1000 import certificates

NAME = "ads_rss_stream"
GOAL = 0.3
STREAMS, RUNS = 1000, 3
NODE = 55_000  # bytes, nearly all of them the names of its extensions; Envoy 1.40 sends 53 to 61 KB
SIZE = 2048


def measure(streams: int = STREAMS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `ads_rss_stream`: a server is started anew for each run, since memory once had is not given back."""
    raise_file_limit()
    with TemporaryDirectory() as name:
        certificates(Path(name))
        sides = [ours, theirs] if spire.wanted() else [ours]
        pairs = []
        for _ in range(runs):
            pair = []
            for side in sides:
                with side(streams, Path(name), size=SIZE, node=NODE) as served:
                    pair.append(served.kib_a_stream)
            pairs.append(pair)
    what = f"memory of a stream, {streams} of them, each with a node of {NODE // 1000} KB"
    return beside(NAME, what, pairs, unit="KiB", goal=GOAL, value=statistics.median)
