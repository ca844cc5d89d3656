"""Envoy's TCP proxy as every TCP listener of ours has it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ringfence.xds import codec

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_EARLY_BYTES = 16384  # what may wait until the application's side is connected
_FOREVER = timedelta(0)


def proxy(where: str, cluster: str, *access_logs: Any, wait_for_data: bool, **more: Any) -> dict[str, Any]:
    """The network filter that passes a connection on.

    *wait_for_data*: connect to the application only when the caller has sent something. RBAC judges on the first byte,
    so without it a stranger would be greeted by a server that speaks first before being denied.
    """
    fields: dict[str, Any] = {
        "stat_prefix": where,
        "cluster": cluster,
        "access_log": list(access_logs),
        "access_log_options": {"flush_access_log_on_connected": True},
        "idle_timeout": _FOREVER,  # a training job may be silent for hours
    }
    if wait_for_data:
        fields |= {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": {"value": _EARLY_BYTES}}
    fields |= more
    return codec.extension("envoy.filters.network.tcp_proxy", _TCP_PROXY, **fields)
