"""Throughput of all-reduces over gloo with Ringfence on the fabric, beside the same connection without it."""

from __future__ import annotations

import statistics
from typing import Any

from perf.allreduce import MIB, SIZES, Block, measured
from perf.figure import figure

NAME = "allreduce_bw"
GOAL = 0.98
LARGEST = max(SIZES)


def _rate(block: Block, size: int) -> float:
    """GB/s, of data that is reduced."""
    return size * len(block[size]) / sum(block[size]) / 1e9


def _times(mine: Block, theirs: Block) -> float:
    """Mine over theirs: the geometric mean over all sizes."""
    return statistics.geometric_mean(_rate(mine, size) / _rate(theirs, size) for size in SIZES)


def measure() -> dict[str, Any]:
    """The figure `allreduce_bw`."""
    blocks = measured()
    runs = [_rate(block, LARGEST) for block in blocks.on]
    bare = [_rate(block, LARGEST) for block in blocks.bare]
    ratio = statistics.median(_times(on, off) for on, off in zip(blocks.on, blocks.bare, strict=True))
    proxied = statistics.median(_rate(block, LARGEST) for block in blocks.proxied)
    slower = statistics.median(_times(block, off) for block, off in zip(blocks.proxied, blocks.bare, strict=False))
    return figure(
        NAME,
        (
            f"all-reduce over gloo, 2 ranks on 2 nodes (namespaces of this machine), {LARGEST // MIB} MiB, with "
            f"routes, filter and members applied (through an Envoy that captures one node: {proxied:.2f} GB/s, "
            f"{slower:.2f}x); ratio: over the limit, geometric mean of 64 KiB to 64 MiB"
        ),
        statistics.median(runs),
        unit="GB/s",
        runs=runs,
        limit=("the same connection with the filter taken out, by turns", statistics.median(bare)),
        ratio=ratio,
        goal=f">= {GOAL}x",
        met=ratio >= GOAL,
    )
