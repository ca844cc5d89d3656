"""Asks ip(8) for this node's addresses and routes."""

from __future__ import annotations

from ringfence.broker.fabric.apply_tools import run
from ringfence.fabric.plan_links import Links, read_links


def live_links() -> Links:
    """Of the network namespace that this process is in; raises NOT_FOUND without ip(8), UNAVAILABLE where it fails."""
    return read_links(run(("ip", "-j", "addr")), tuple(run(("ip", f"-{version}", "-j", "route")) for version in (4, 6)))
