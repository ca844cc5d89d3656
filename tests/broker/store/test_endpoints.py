"""Endpoints on disk."""

from __future__ import annotations

from ringfence.broker.store import changes, endpoints
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.engine import Store


async def test_endpoints_are_kept_until_their_proxy_is_forgotten(store: Store) -> None:
    """The same address said by another proxy belongs to that one from then on."""
    await store.run(endpoints.put, "old", [EndpointRow("a/b", "http", "127.0.0.1", 1, "old")])
    await store.run(endpoints.put, "new", [EndpointRow("a/b", "http", "127.0.0.1", 1, "new")])
    assert await store.run(endpoints.remove, "old", "self") == 0
    assert await store.run(endpoints.every) == [EndpointRow("a/b", "http", "127.0.0.1", 1, "new")]
    assert await store.run(endpoints.remove, "new", "self") == 1
    assert await store.run(endpoints.every) == []


async def test_what_a_proxy_says_now_replaces_what_it_said(store: Store) -> None:
    """All of it, under the server that it said it to; that server's word alone takes it away."""
    await store.run(endpoints.put, "n", [EndpointRow("a/b", "http", "127.0.0.1", 1, "n", "one")])
    said = [EndpointRow("a/b", "grpc", "127.0.0.1", 2, "n", "two")]
    await store.run(endpoints.put, "n", said)
    assert await store.run(endpoints.remove, "n", "one") == 0
    assert await store.run(endpoints.every, {"n"}) == said
    assert await store.run(endpoints.every, {"other"}) == []
    assert await store.run(endpoints.remove_of, "two") == 1
    assert await store.run(endpoints.every) == []


async def test_every_proxy_that_a_change_touches_is_in_the_feed(store: Store) -> None:
    """Also the one whose address another has taken over: other servers must let go of it."""
    await store.run(endpoints.put, "old", [EndpointRow("a/b", "http", "127.0.0.1", 1, "old")])
    await store.run(endpoints.put, "new", [EndpointRow("a/b", "http", "127.0.0.1", 1, "new")])
    await store.run(endpoints.remove, "old", "self")
    await store.run(endpoints.remove, "new", "self")
    found = await store.run(changes.since, 0)
    assert found is not None
    assert [(one.kind, one.key) for one in found] == [
        (ChangeKind.ENDPOINTS, name) for name in ("old", "new", "old", "new")
    ]


async def test_where_a_proxy_runs_is_kept_with_its_endpoints(store: Store) -> None:
    """Other servers and the next start learn it from there."""
    row = EndpointRow("a/b", "http", "127.0.0.1", 1, "n", "one", region="eu", zone="eu-1")
    await store.run(endpoints.put, "n", [row])
    assert await store.run(endpoints.every) == [row]
