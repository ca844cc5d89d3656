"""A port that also takes callers without mutual TLS for a while: a filter chain of its own, beside that of the mesh.

Nothing is shared but the workload behind it. The chain of the mesh becomes the listener's default, so that whatever is
not plaintext from where that is permitted (TLS, and plaintext from elsewhere) ends in its handshake, as without this.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from ringfence.policy.plaintext import Plaintext
from ringfence.xds import ranges

Fields = dict[str, Any]

_PATIENCE = timedelta(seconds=10)  # for the five bytes by which TLS is told from plaintext; then it is closed


def name(where: str) -> str:
    """What the chain of the listener *where* is called, and its rules."""
    return f"{where}/plaintext"


def chains(where: str, mesh: Fields, taken: Plaintext | None, filters: list[Fields]) -> Fields:
    """The fields of a listener that say which connection is served by what: *mesh* alone, unless plaintext is *taken*.

    Envoy's search for a chain does not turn back: with two that have a match, plaintext from elsewhere would find none,
    and be closed without a record.
    """
    if taken is None:
        return {"filter_chains": [mesh]}
    match: Fields = {"transport_protocol": "raw_buffer"}
    if taken.cidrs:
        match["direct_source_prefix_ranges"] = [_range(cidr) for cidr in taken.cidrs]
    own = {"name": name(where), "filter_chain_match": match, "filters": filters}
    return {
        "filter_chains": [own],
        "default_filter_chain": mesh,
        "listener_filters": [ranges.inspector()],
        "listener_filters_timeout": _PATIENCE,
    }


def _range(cidr: str) -> Fields:
    network = ip_network(cidr)
    return {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
