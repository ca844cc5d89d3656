"""The proxies' side of the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.store.engine import Store
from ringfence.broker.trust import Trust
from ringfence.policy.model import Model
from ringfence.proto.lane import Method


class ServerProxies:
    """Stands in until the fleet is here: no proxy, nothing to do."""

    @classmethod
    async def load(cls, store: Store, trust: Trust, clock: Callable[[], datetime]) -> ServerProxies:
        """With the endpoints that were known before."""
        return cls()

    async def apply(self, model: Model) -> int:
        """Make *model* the one in force."""
        return 0

    def list_proxies(self) -> Sequence[pb.ProxyStatus]:
        """One status a connected proxy."""
        return []

    def methods(self) -> dict[str, Method]:
        """ADS and Describe."""
        return {}
