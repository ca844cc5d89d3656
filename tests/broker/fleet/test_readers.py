"""Who holds the endpoints of which ports: as the scopes say, and nobody who has left."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.fleet.readers import Readers

PORTS = [("a", "http"), ("a", "grpc"), ("b", "http")]


class Reads:
    """A proxy of which only what it reads counts."""

    def __init__(self) -> None:
        self.reads: set[tuple[str, str]] = set()


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.sets(st.sampled_from(PORTS))))))
def test_it_says_what_a_look_at_all_of_them_says(changes: list[tuple[int, Any]]) -> None:
    """However they come, change and leave; None is leaving, twice too."""
    proxies = [Reads() for _ in range(4)]
    readers, present = Readers(), set()
    for at, reads in changes:
        proxy = cast("Proxy", proxies[at])
        if reads is None:
            readers.drop(proxy)
            present.discard(at)
        else:
            proxies[at].reads = reads
            readers.follow(proxy)
            present.add(at)

    for port in PORTS:
        assert {id(p) for p in readers.of([port])} == {id(proxies[at]) for at in present if port in proxies[at].reads}
    both = readers.of(PORTS[:2])
    assert len(set(map(id, both))) == len(both)
    if not present:
        assert not readers._of
