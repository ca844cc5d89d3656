"""How many connections a port keeps open at once: one more is closed before it is asked who calls."""

from __future__ import annotations

from typing import Any

from ringfence.xds import codec

_LIMIT = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"


def limited(where: str, most: int) -> list[dict[str, Any]]:
    """The filter in front of all others of a chain; none where *most* is 0. All of a proxy's workers count together."""
    if not most:
        return []
    return [codec.extension("ringfence.connections", _LIMIT, stat_prefix=where, max_connections={"value": most})]
