"""Long lists of entries: over 4 MB, over 17,000, and none of it lost while it is told again."""

from __future__ import annotations

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.link import Link
from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.registry import Delta
from ringfence.broker.server.agent_messages import entries_updates
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.world import START, TD

MANY = 17_500
MESSAGE = 4 * 1024 * 1024  # what a gRPC client takes unless told otherwise


def entry(number: int) -> Entry:
    """One of many, with selectors as long as paths are."""
    path = f"/ns/team/sa/workload-{number}"
    return Entry(
        f"id-{number}",
        SpiffeId(TD, path),
        any_node(TD),
        selectors_of([f"unix:path:/opt{path}{'x' * 200}"]),
    )


def link_and_cache() -> tuple[Link, Cache]:
    """An agent's two halves without a socket."""
    cache = Cache(Authority.create(TD, MemoryKeys(), now=START).bundle(1), clock=lambda: START)
    dialler = Dialler(Address("127.0.0.1", 1), lambda: Trust(TD, None), lambda: None)
    return Link(dialler, cache), cache


def whole(revision: int) -> list[agent_pb2.ServerMessage]:
    """What a server says to an agent that knows nothing."""
    delta = Delta(revision, full=True, upserts=tuple(map(entry, range(MANY))), removed=(), launch=None)
    return list(entries_updates(delta))


def test_a_list_of_17_500_entries_and_more_than_4_mb_comes_in_messages_that_every_client_takes() -> None:
    """And the agent holds all of it."""
    messages, (link, cache) = whole(7), link_and_cache()
    assert sum(message.ByteSize() for message in messages) > MESSAGE
    assert max(message.ByteSize() for message in messages) < MESSAGE / 2
    for message in messages:
        link._dispatch(message)
    assert (len(cache.book), cache.book.revision) == (MANY, 7)


def test_a_long_list_that_is_said_again_takes_nothing_away_in_between() -> None:
    """After a restart the server says everything: what stands in the last message is not forgotten at the first."""
    messages, (link, cache) = whole(7), link_and_cache()
    for message in messages:
        link._dispatch(message)
    gone: list[frozenset[str]] = []
    cache.hooks.gone = gone.append
    for message in whole(8):
        link._dispatch(message)
        assert len(cache.book) == MANY
    assert (set().union(*gone), cache.book.revision) == (set(), 8)


def test_a_list_that_was_cut_short_counts_for_nothing() -> None:
    """The stream is lost in the middle: the agent holds what it held, and says to the next server how far it is."""
    link, cache = link_and_cache()
    for message in whole(7):
        link._dispatch(message)
    for message in whole(8)[:3]:
        link._dispatch(message)
    assert (len(cache.book), cache.hello().revision) == (MANY, 7)
