"""What an all-reduce over gloo takes with Ringfence on the fabric, beside the same connection without it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from perf.allreduce import SIZES, Block, measured, named
from perf.figure import figure

NAME = "allreduce_p50"
GOAL = 1.03
SHOWN = min(SIZES)


def _p50(blocks: Sequence[Block], size: int) -> float:
    """Milliseconds, of all reductions of that size."""
    return 1e3 * statistics.median(took for block in blocks for took in block[size])


def measure() -> dict[str, Any]:
    """The figure `allreduce_p50`."""
    blocks = measured()
    pairs = list(zip(blocks.on, blocks.bare, strict=True))
    ratios = {size: statistics.median(_p50([on], size) / _p50([bare], size) for on, bare in pairs) for size in SIZES}
    proxied = {size: _p50(blocks.proxied, size) / _p50(blocks.bare, size) for size in SIZES}
    ratio = statistics.geometric_mean(ratios.values())
    told = ", ".join(f"{named(size)} {ratios[size]:.2f}x, by a proxy {proxied[size]:.2f}x" for size in SIZES)
    return figure(
        NAME,
        (
            f"an all-reduce of {named(SHOWN)} over gloo, 2 ranks on 2 nodes (namespaces of this machine), with routes, "
            f"filter and members applied, p50 ({told}); ratio: over the limit, geometric mean of all sizes"
        ),
        _p50(blocks.on, SHOWN),
        unit="ms",
        runs=[_p50([block], SHOWN) for block in blocks.on],
        limit=("the same connection with the filter taken out, by turns", _p50(blocks.bare, SHOWN)),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL,
    )
