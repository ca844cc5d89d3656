"""What every database does for us, also for several users of one at once: SQLite and PostgreSQL run the same suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.store import (
    authority,
    changes,
    endpoints,
    entries,
    fabric_claims,
    intent,
    ledger,
    schema,
    tokens,
)
from ringfence.broker.store.authority import Kept
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.document import Document
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.engine import Store
from ringfence.broker.store.intent import Apply
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.fabric.claims import AT, claim, standing

TD = TrustDomain("example.org")
ROUNDS = 25


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield Location.of_file(tmp_path / "store.sqlite3")
        return
    with request.getfixturevalue("postgres").database() as url:
        yield Location.parse(url)


@pytest.fixture
async def both(location: Location) -> AsyncIterator[tuple[Store, Store]]:
    """Two users of one database, each with a thread and a connection of its own."""
    first = await Store.open(location)
    second = await Store.open(location)
    yield first, second
    await asyncio.gather(first.close(), second.close())


def entry(number: int) -> Entry:
    """An entry that an operator asks for."""
    return Entry("", SpiffeId(TD, f"/ns/a/sa/w{number}"), any_node(TD), selectors_of([f"unix:uid:{number}"]))


async def write(store: Store, name: str) -> None:
    """Many short transactions, some of several steps."""
    for i in range(ROUNDS):
        await store.run(changes.append, [(ChangeKind.ENTRY, f"{name}{i}")] * (1 + i % 3))


async def test_a_follower_of_racing_writers_misses_nothing(both: tuple[Store, Store], location: Location) -> None:
    """Revisions are gap-free in commit order: a reader that goes on from its last one sees each exactly once."""
    follower = await Store.open(location)
    writers = asyncio.gather(write(both[0], "a"), write(both[1], "b"))
    seen: list[int] = []
    while not writers.done() or len(seen) < await follower.run(changes.current):
        news = await follower.run(changes.since, len(seen))
        assert news is not None
        seen += [change.revision for change in news]
        assert seen == list(range(1, len(seen) + 1))
    await writers
    await follower.close()
    assert len(seen) == 2 * sum(1 + i % 3 for i in range(ROUNDS))


async def test_what_a_transaction_reads_belongs_together(both: tuple[Store, Store]) -> None:
    """Entries and the revision that they are at are of one moment, however many write meanwhile."""

    def moment(connection: Connection) -> tuple[int, int]:
        return len(entries.every(connection)), changes.current(connection)

    async def create() -> None:
        for i in range(ROUNDS):
            await both[0].run(entries.create, [entry(i)], 1)

    creating = asyncio.create_task(create())
    while not creating.done():
        held, revision = await both[1].run(moment)
        assert held == revision
    await creating


async def test_a_token_is_taken_once_by_whichever_server(both: tuple[Store, Store]) -> None:
    """Of agents that race at two servers, one has it and the others hear that it was used."""
    for name in ("one", "two", "three", "four"):
        await both[0].run(tokens.add, name, expires_at=200, now=100)
        racing = (both[i % 2].run(tokens.use, name, 150) for i in range(6))
        results = await asyncio.gather(*racing, return_exceptions=True)
        assert results.count(tokens.token_hash(name)) == 1
        refused = [result for result in results if isinstance(result, RingfenceError)]
        assert {(error.kind, error.detail) for error in refused} == {
            (Kind.UNAUTHENTICATED, "this join token was used already")
        }
        assert len(refused) == 5


async def test_the_same_entry_asked_of_two_servers_is_made_once(both: tuple[Store, Store]) -> None:
    """One creates, the other finds it unchanged, under one id; no constraint is ever hit."""
    for i in range(ROUNDS):
        results = await asyncio.gather(*(store.run(entries.create, [entry(i)], 1) for store in both))
        made, found = sorted(results, key=lambda result: result[0][1])
        assert (made[0][1], found[0][1]) == ("created", "unchanged")
        assert made[0][0] == found[0][0]


async def test_applies_at_two_servers_come_one_after_another(both: tuple[Store, Store]) -> None:
    """Each has a number of its own, and the later one is in force whole."""
    for i in range(ROUNDS):
        texts = {store: [Document("a.yaml", f"{i} {id(store)}".encode())] for store in both}
        applies = (store.run(intent.record, Apply(f"r{i}", "me", "", i), texts[store], []) for store in both)
        await asyncio.gather(*applies)
        found = await both[0].run(intent.last)
        assert found is not None
        assert found[1] in texts.values()
    count = await both[0].run(lambda c: c.execute(select(func.count(func.distinct(schema.intents.c.seq)))).scalar())
    assert count == 2 * ROUNDS


async def test_a_row_put_by_two_servers_at_once_is_one_row(both: tuple[Store, Store]) -> None:
    """Insert or update, of endpoints and of the authority, hits no constraint; the later one is what stands."""
    for i in range(ROUNDS):
        rows = [EndpointRow("a/b", "http", "127.0.0.1", i, f"node{n}-{i}") for n in range(2)]
        puts = (store.run(endpoints.put, row.node, [row]) for store, row in zip(both, rows, strict=True))
        await asyncio.gather(*puts)
        await asyncio.gather(*(store.run(authority.save, f"s{i}", {"n": i}) for store in both))
        assert (await both[0].run(authority.every))[f"s{i}"] == Kept({"n": i}, 2 * i + 2)
    held = await both[1].run(endpoints.every)
    assert sorted(row.number for row in held) == list(range(ROUNDS))


async def test_of_two_servers_that_are_asked_for_one_address_at_once_one_refuses(both: tuple[Store, Store]) -> None:
    """Whichever is first has it, and both keep the same row."""
    for i in range(ROUNDS):
        rows = [standing(claim(node, f"192.168.50.{i}")) for node in range(2)]
        puts = (store.run(fabric_claims.put, [row], AT) for store, row in zip(both, rows, strict=True))
        refused = {one for answer in await asyncio.gather(*puts) for one in answer}
        assert len(refused) == 1
        held = [one for one in await both[0].run(fabric_claims.every) if one.claim.addresses == rows[0].claim.addresses]
        assert {*held, *refused} == set(rows)
        assert await both[1].run(fabric_claims.remove, held) == held
        assert await both[0].run(fabric_claims.orphan, "", AT) == []


async def test_a_failing_transaction_leaves_nothing(both: tuple[Store, Store]) -> None:
    """What a function wrote before it raised is not there afterwards, for anyone, and nobody waits for it."""

    def fails(connection: Connection) -> None:
        changes.append(connection, [(ChangeKind.ENTRY, "x")])
        raise RingfenceError(Kind.INVALID, "no")

    with pytest.raises(RingfenceError):
        await both[0].run(fails)
    assert await both[1].run(changes.append, [(ChangeKind.ENTRY, "y")]) == 1


async def test_a_rehearsal_answers_and_leaves_nothing(both: tuple[Store, Store]) -> None:
    """No row and no revision: what comes next has the number that the rehearsal gave."""
    one, other = both
    [(tried, action)] = await one.rehearse(entries.create, [entry(1)], 1)
    assert action == entries.CREATED
    assert await other.run(entries.every) == []
    [(made, _)] = await other.run(entries.create, [entry(2)], 1)
    assert made.revision == tried.revision


async def test_what_is_written_is_there_after_reopening(location: Location) -> None:
    """A store is its database, down to the types of its columns."""
    first = await Store.open(location)
    await first.run(entries.create, [entry(1)], 1)
    await first.run(intent.record, Apply("r", "me", "c", 1), [Document("a", b"\x00\xff")], [])
    await first.run(ledger.intend, [Issuance("s", "x509", "spiffe://example.org/a", "e", "a", "k", 2**40)], 1)
    held = await first.run(entries.every)
    await first.close()
    second = await Store.open(location)
    assert await second.run(entries.every) == held
    assert await second.run(intent.last) == (Apply("r", "me", "c", 1), [Document("a", b"\x00\xff")])
    assert await second.run(ledger.unfinished) == ["s"]
    await second.close()
