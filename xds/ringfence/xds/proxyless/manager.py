"""The connection manager as gRPC takes it: routes by RDS, the filters given, the router last, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ringfence.xds import codec
from ringfence.xds.sources import by_ads

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def manager(routes: str, filters: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """The network filter, which is also what an `api_listener` holds."""
    return codec.extension(
        "envoy.filters.network.http_connection_manager",
        _MANAGER,
        rds={"route_config_name": routes, "config_source": by_ads()},
        http_filters=[*filters, codec.extension("envoy.filters.http.router", _ROUTER)],
    )
