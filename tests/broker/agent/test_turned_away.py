"""When an agent takes a refusal for the end of what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.agent.v1.agent_pb2 import EntriesUpdate
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Cache, utc_now
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.node import Node
from ringfence.broker.agent.storage import DataFolder
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.harness import config
from tests.broker.server.harness import TRUST_DOMAIN

DENIED = RingfenceError(Kind.DENIED, "it is banned")
AWAY = RingfenceError(Kind.UNAVAILABLE, "nobody answers")
STRANGER = RingfenceError(Kind.UNAUTHENTICATED, "its SVID has ended")


@pytest.mark.parametrize(
    ("denied", "last", "refused", "gone"),
    [
        (DENIED, DENIED, True, True),
        (DENIED, AWAY, True, True),  # another server of several was asked after the one that said no
        (None, STRANGER, True, False),  # that is no word about the workloads
        (None, AWAY, False, False),
        (DENIED, AWAY, False, False),  # not every server was asked yet
    ],
)
async def test_only_a_no_from_a_server_that_knows_the_node_takes_what_it_gave(
    tmp_path: Path, *, denied: RingfenceError | None, last: RingfenceError, refused: bool, gone: bool
) -> None:
    """A token works once, so that this agent cannot prove itself anew; whatever else is wrong, it serves on."""
    node = Node(config(tmp_path, "127.0.0.1:1"), DataFolder(tmp_path / "agent"), utc_now)
    bundle = SpiffeBundle(TRUST_DOMAIN)
    address = Address("127.0.0.1", 1)
    link = Link(Dialler(address, lambda: Trust(TRUST_DOMAIN, bundle), lambda: None), Cache(bundle))
    link.denied, link.last_failure = denied, last
    if refused:
        link.refused.set()
    told: list[bool] = []
    node.turned_away = lambda _: told.append(True)
    with pytest.raises(RingfenceError):
        await node._come_back(link)
    assert bool(told) is gone


def test_an_agent_that_is_turned_away_is_not_ready_until_the_server_sends_entries() -> None:
    """A probe sees it, and why."""
    cache = Cache(SpiffeBundle(TRUST_DOMAIN))
    assert cache.unready == "the server has not sent its entries yet"
    cache.on_entries(EntriesUpdate(full=True))
    assert not cache.unready
    cache.turned_away(DENIED)
    assert cache.unready == "the server does not admit this node: it is banned"
    cache.on_entries(EntriesUpdate(full=True))
    assert not cache.unready


async def test_the_word_of_a_server_counts_until_one_says_something_else() -> None:
    """A node that attested anew starts without it."""
    bundle = SpiffeBundle(TRUST_DOMAIN)
    dialler = Dialler(Address("127.0.0.1", 1), lambda: Trust(TRUST_DOMAIN, bundle), lambda: None)
    link = Link(dialler, Cache(bundle))
    link.denied = DENIED
    link.rejoined()
    assert link.denied is None
