"""Counters as they are printed, and how they grow; text that is none says nothing."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ringfence.fabric.doctor.sysfs import ports
from ringfence.fabric.leak.counters import filter_grown, filter_of, grown, links, rdma_bytes, upstream_bytes
from ringfence.fabric.leak.seen import Count, Filter, Link
from tests.fabric.leak.counters import DEV, STATS, listing


def test_interfaces_grow() -> None:
    """One that came meanwhile, or whose counters began again, grew by all that it has."""
    before = links(DEV)
    assert before["fab0"] == Link("fab0", 5_000_000, 4_000_000, 700, 600)
    after = links(
        DEV.replace("5000000", "5000900").replace("   100 ", "    40 ") + "  new0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n"
    )
    assert grown(before, after) == (Link("fab0", 900, 0), Link("lo", 40, 40, 2, 2), Link("new0", 7, 8, 1, 1))


def test_the_filter_is_read_by_job() -> None:
    """What members sent each other, what was refused in either direction, and what came by another way."""
    found = filter_of(listing(1))
    assert found is not None
    assert found.incoming == {"team-a/llama": Count(2, 200), "team-b/x": Count()}
    assert found.outgoing == {"team-a/llama": Count(5, 500)}
    assert (found.refused_in, found.refused_out, found.astray) == (Count(3, 300), Count(1, 60), Count(2, 80))


def test_the_filter_grows() -> None:
    """A table that was made anew has counted from nought."""
    one, three = filter_of(listing(1)), filter_of(listing(3))
    assert one is not None
    assert three is not None
    grew = filter_grown(one, three)
    assert grew is not None
    assert (grew.incoming["team-a/llama"], grew.refused_in) == (Count(4, 400), Count(6, 600))
    assert filter_grown(three, one) == one
    assert filter_grown(None, one) == one
    assert filter_grown(one, None) is None


def test_envoys_upstreams_are_read_without_the_control_planes() -> None:
    """Both ways, by cluster, whatever is in its name."""
    assert upstream_bytes(STATS) == {"outbound/store.team-a/tcp": 12}


def test_words_of_rdma_have_four_bytes() -> None:
    """Of active ports, both ways; one that was not there before grew by all it has."""

    def at(sent: int) -> dict[str, str]:
        port = "/sys/class/infiniband/mlx5_0/ports/1"
        return {f"{port}/counters/port_xmit_data": f"{sent}\n", f"{port}/counters/port_rcv_data": "1\n",
                f"{port}/state": "4: ACTIVE\n"}  # fmt: skip

    assert rdma_bytes(ports(at(10)), ports(at(35))) == {"mlx5_0:1": 100}
    assert rdma_bytes((), ports(at(35))) == {"mlx5_0:1": 144}


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda one: (
            st.lists(one)
            | st.dictionaries(st.sampled_from(["nftables", "rule", "expr", "chain", "counter", "match", "right"]), one)
        ),
    ).map(json.dumps)
)
def test_junk_says_nothing(text: str) -> None:
    """And never raises."""
    assert isinstance(links(text), dict)
    assert isinstance(upstream_bytes(text), dict)
    assert isinstance(filter_of(text), Filter | None)
