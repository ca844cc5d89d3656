"""The store: bounded, indexed, waited for and followed."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.evidence.record import Filter
from ringfence.broker.evidence.store import DecisionStore
from tests.broker.evidence.records import CLIENT, WEB, record


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 5))
def test_it_holds_the_last_ones_and_finds_each_by_its_id(ids: list[str], capacity: int) -> None:
    """Whatever comes, what is kept is the newest, the index says the same, and the rest is counted."""
    store = DecisionStore(capacity)
    records = [record(id=name, time_ns=i) for i, name in enumerate(ids)]
    for one in records:
        store.add(one)
    kept = records[-capacity:] if ids else []

    assert list(store.last(100, Filter())) == kept
    assert [list(store.find(name)) for name in "abcd"] == [[r for r in kept if r.id == name] for name in "abcd"]
    assert (len(store), store.added, store.evicted) == (len(kept), len(ids), len(ids) - len(kept))


async def test_waiting_ends_when_the_record_comes() -> None:
    """Proxies report with a delay: whoever asks first gets the record as soon as it is there."""
    store = DecisionStore()
    waiting = asyncio.create_task(store.wait("x", 10))
    await asyncio.sleep(0)
    store.add(record(id="x"))

    assert [found.id for found in await waiting] == ["x"]
    assert store._waiters == {}


async def test_waiting_is_bounded_and_leaves_nothing() -> None:
    """A record that never comes costs the time asked for, and no memory afterwards."""
    store = DecisionStore()

    assert await store.wait("x", 0.01) == ()
    assert await store.wait("x", 0) == ()
    assert store._waiters == {}


async def test_a_slow_follower_misses_records_and_harms_nobody() -> None:
    """Its queue is bounded, what it misses is counted, and the store goes on."""
    store = DecisionStore()
    with store.following() as queue:
        for i in range(queue.maxsize + 3):
            store.add(record(time_ns=i))
        assert (queue.qsize(), store.missed) == (queue.maxsize, 3)
    store.add(record())

    assert store.missed == 3


def test_a_filter_takes_ids_and_short_names() -> None:
    """NAMESPACE/NAME means that workload in any trust domain, and nobody whose name merely ends alike."""
    one = record(allowed=False, rule="team-a/read")

    assert Filter(denied_only=True, source="team-a/client", destination=WEB, rule="team-a/read").wants(one)
    assert not Filter(source="a/client").wants(one)
    assert not Filter(source=CLIENT[:-1]).wants(one)
    assert not Filter(rule="team-a/rea").wants(one)
    assert not Filter(denied_only=True).wants(record())
    assert Filter(destination="hub.example").wants(record(destination="hub.example"))


def test_a_filter_takes_all_ranks_of_a_job_as_one() -> None:
    """And nobody whose name only begins as theirs do."""
    ranks = "spiffe://example.test/ns/a/job/llm/rank/"
    wanted = Filter(source=f"{ranks}*")

    assert wanted.wants(record(source=f"{ranks}1"))
    assert wanted.wants(record(source=f"{ranks}12"))
    for other in (f"{ranks}1/x", f"{ranks}01", ranks[:-1], "hub.example", "spiffe://example.test/ns/a/job/llm2/rank/1"):
        assert not wanted.wants(record(source=other))
    assert not Filter(source="spiffe://example.test/ns/a/*").wants(record(source=f"{ranks}1"))
