"""One statement for many rows."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, bindparam, select, update

from ringfence.broker.store.engine import Store
from ringfence.broker.store.many import execute_many
from ringfence.broker.store.schema import entries, intents
from ringfence.certs.errors import RingfenceError

_RENAME = update(intents).where(intents.c.seq == bindparam("which")).values(author=bindparam("by"))
_FIELDS = ("seq", "revision", "author", "commit", "applied_at")
HOSTILE = ["plain", "per%cent %s %(seq)s", "'; DROP TABLE intents; --", "colon :seq ?", "ünïcode \N{SNOWMAN}"]


def _rows(authors: list[str]) -> list[dict[str, object]]:
    return [dict(zip(_FIELDS, (number, "r", author, "", 7), strict=True)) for number, author in enumerate(authors, 1)]


def _authors(connection: Connection) -> list[str]:
    return list(connection.execute(select(intents.c.author).order_by(intents.c.seq)).scalars())


def _entries(connection: Connection) -> list[dict[str, object]]:
    return [dict(row._mapping) for row in connection.execute(select(entries).order_by(entries.c.id))]


async def test_every_row_arrives_as_it_is(store: Store) -> None:
    """Values are values to the driver, whatever they look like; a second batch uses the same statement."""
    for batch in (HOSTILE, [], ["one"]):
        await store.run(lambda connection: connection.execute(intents.delete()))
        await store.run(execute_many, intents.insert(), _rows(batch))
        assert await store.run(_authors) == batch


async def test_names_that_stand_in_another_order_mean_the_same(store: Store) -> None:
    """Rows are by name, not by place; an update touches what it names and nothing else."""
    turned = [dict(reversed(row.items())) for row in _rows(["a", "b", "c"])]
    await store.run(execute_many, intents.insert(), turned)
    await store.run(execute_many, _RENAME, [{"by": "x", "which": 3}, {"which": 1, "by": "y"}])
    assert await store.run(_authors) == ["y", "b", "x"]


async def test_values_that_a_driver_does_not_take_are_written_as_their_column_says(store: Store) -> None:
    """Lists are JSON, truth is what the database has for it, and both come back as they were."""
    texts = dict.fromkeys(("spiffe_id", "parent_id", "hint", "origin", "template"), "'%s")
    numbers = dict.fromkeys(("x509_ttl", "jwt_ttl", "created_at", "revision", "expires_at"), 1 << 40)
    lists = {"selectors": ["unix:user:\N{SNOWMAN}", 'a"b'], "dns_names": [], "federates_with": ["%s"]}
    flags = {"admin": True, "downstream": False, "store_svid": True, "jwt_jti": False}
    rows = [{"id": key, "key": key, **texts, **numbers, **lists, **flags} for key in ("a", "b")]
    await store.run(execute_many, entries.insert(), rows)
    assert await store.run(_entries) == rows


async def test_one_row_that_cannot_be_written_takes_the_others_with_it(store: Store) -> None:
    """The transaction is whole, as with any other statement."""
    with pytest.raises(RingfenceError):
        await store.run(execute_many, intents.insert(), [*_rows(["a", "b"]), *_rows(["again"])])
    assert await store.run(_authors) == []
