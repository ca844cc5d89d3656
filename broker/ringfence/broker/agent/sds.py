"""The secret discovery service's three methods, which load Envoy's schema only when it is used or the start is over."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ringfence.broker.agent.watch import Watches
from ringfence.proto.lane import Call, Method

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
_METHODS = ("StreamSecrets", "DeltaSecrets", "FetchSecrets")


def secret_discovery(watches: Watches) -> tuple[dict[str, Method], Callable[[], object]]:
    """The methods by path, and what loads all that they need (30 ms, once)."""

    @cache
    def real() -> dict[str, Method]:
        from ringfence.broker.agent.sds_stream import SecretDiscovery

        return SecretDiscovery(watches).methods()

    def lazily(name: str) -> Method:
        async def handle(call: Call) -> None:
            await real()[name].handler(call)

        def parse(data: bytes) -> Any:
            return real()[name].parse(data)

        return Method(handle, parse)

    return {f"/{SERVICE}/{name}": lazily(name) for name in _METHODS}, real
