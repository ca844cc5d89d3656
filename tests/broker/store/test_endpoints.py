"""Endpoints on disk."""

from __future__ import annotations

from ringfence.broker.store import endpoints
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.engine import Store


async def test_endpoints_are_kept_until_their_proxy_is_forgotten(store: Store) -> None:
    """The same address said by another proxy belongs to that one from then on."""
    await store.run(endpoints.put, [EndpointRow("a/b", "http", "127.0.0.1", 1, "old")])
    await store.run(endpoints.put, [EndpointRow("a/b", "http", "127.0.0.1", 1, "new")])
    assert await store.run(endpoints.remove, "old") == 0
    assert await store.run(endpoints.every) == [EndpointRow("a/b", "http", "127.0.0.1", 1, "new")]
    assert await store.run(endpoints.remove, "new") == 1
    assert await store.run(endpoints.every) == []
