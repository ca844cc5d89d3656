"""The secret discovery service's three methods, which load Envoy's schema only when it is used or the start is over."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ringfence.broker.agent.connections import Connections
from ringfence.broker.agent.lazily import lazily
from ringfence.broker.agent.watches import Watches
from ringfence.proto.lane import Method

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
_METHODS = ("StreamSecrets", "DeltaSecrets", "FetchSecrets")


def secret_discovery(watches: Watches, connections: Connections) -> tuple[dict[str, Method], Callable[[], object]]:
    """The methods by path, and what loads all that they need (30 ms, once)."""

    @cache
    def real() -> dict[str, Method]:
        from ringfence.broker.agent.sds_stream import SecretDiscovery

        return SecretDiscovery(watches, connections).methods()

    return {f"/{SERVICE}/{name}": lazily(real, name) for name in _METHODS}, real
