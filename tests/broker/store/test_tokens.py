"""Join tokens on disk."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from ringfence.broker.store import schema, tokens
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError


async def test_a_token_is_taken_once_however_many_race(store: Store) -> None:
    """One UPDATE decides."""
    await store.run(tokens.add, "secret", expires_at=200, now=100)
    results = await asyncio.gather(*(store.run(tokens.use, "secret", 150) for _ in range(5)), return_exceptions=True)
    taken = [result for result in results if isinstance(result, str)]
    refused = [result for result in results if isinstance(result, RingfenceError)]
    assert taken == [tokens.token_hash("secret")]
    assert {(error.kind, error.detail) for error in refused} == {
        (Kind.UNAUTHENTICATED, "this join token was used already")
    }


@pytest.mark.parametrize(("now", "detail"), [(200, "has expired"), (5000, "has expired")])
async def test_a_token_ends_at_its_time(store: Store, now: int, detail: str) -> None:
    """The last second it is good for is the one before."""
    await store.run(tokens.add, "secret", expires_at=200, now=100)
    with pytest.raises(RingfenceError, match=detail):
        await store.run(tokens.use, "secret", now)


async def test_the_token_itself_is_never_stored(store: Store) -> None:
    """Who reads the database cannot join."""
    await store.run(tokens.add, "secret", expires_at=200, now=100)
    rows = await store.run(lambda connection: connection.execute(select(schema.tokens)).all())
    assert "secret" not in str(rows)


async def test_tokens_long_past_are_forgotten(store: Store) -> None:
    """The table does not grow for ever."""
    await store.run(tokens.add, "old", expires_at=200, now=100)
    await store.run(tokens.add, "new", expires_at=10**6, now=10**6 - 10)
    with pytest.raises(RingfenceError, match="not known"):
        await store.run(tokens.use, "old", 150)
