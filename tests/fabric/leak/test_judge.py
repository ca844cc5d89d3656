"""What is proved, what is a leak and what is left open: each guard by what would pass without it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from ringfence.fabric.leak.judge import CONTROL, FABRIC, PROXIES, STRANGERS, Part, Verdict, judge
from ringfence.fabric.leak.seen import Count, Owner, Proxy, Seen
from tests.fabric.leak.nodes import ASKED, CLEAN, DATA, FAB, MB, OWN, RANK, STORE, filtered, link, moved, node

STRANGER = replace(RANK, local_port=22, peer="10.91.0.3", peer_port=40000, owner=Owner.OTHER, who="sshd (9)")


def part(name: str, seen: Seen, **asked: object) -> Part:
    """That part's judgement."""
    return next(one for one in judge(seen, replace(ASKED, **asked)) if one.name == name)  # type: ignore[arg-type]


def test_a_clean_node_is_clean() -> None:
    """All four, with the filter and without."""
    for seen in (CLEAN, node(filter=filtered())):
        assert [one.verdict for one in judge(seen, ASKED)] == [Verdict.PROVED] * 4


def test_a_job_that_moved_nothing_proves_nothing() -> None:
    """What moved less than the tolerance could have been hidden in it."""
    found = part(FABRIC, node(sockets=(moved(RANK, MB // 2), STORE)))
    assert found.verdict is Verdict.OPEN
    assert "no more than the tolerance" in found.because


def test_what_the_fabric_moved_for_others_is_not_the_jobs() -> None:
    """Its interfaces were busy, its sockets were not."""
    assert part(FABRIC, node(sockets=(STRANGER,))).verdict is Verdict.OPEN


def test_the_job_on_the_control_wire_is_a_leak() -> None:
    """E1b."""
    seen = node(
        links=(link("ctl0", 2 * DATA), link("fab0", 100)), sockets=(replace(RANK, local="10.90.0.1", peer="10.90.0.2"),)
    )
    found = part(CONTROL, seen)
    assert found.verdict is Verdict.LEAK
    assert found.because == "the job's sockets moved 100,000,000 bytes there"


def test_others_on_the_control_wire_are_told_apart() -> None:
    """A backup ran meanwhile; its socket has all of it."""
    backup = replace(STORE, owner=Owner.OTHER, who="borg (3)", sent=9 * MB, segments_out=6500, local_port=1)
    busy = (link("ctl0", 18 * MB), FAB)
    busy = (replace(busy[0], received=5000, sent=9 * MB + 400_000), FAB)
    assert part(CONTROL, node(links=busy, sockets=(RANK, STORE, backup))).verdict is Verdict.PROVED


@pytest.mark.parametrize(
    "fields",
    [
        {"complete": False},
        {"sockets": None},
        {"sockets": (RANK, STORE)},
        {"sockets": (RANK, replace(STORE, owner=Owner.UNKNOWN, who="", sent=9 * MB, segments_out=6500))},
    ],
    ids=["ends not told", "no sockets", "in no socket", "nobody's socket"],
)
def test_a_busy_control_wire_that_nobody_explains_is_open(fields: dict[str, object]) -> None:
    """It is no leak, and it is not claimed that there is none."""
    busy = (replace(link("ctl0", 0), sent=9 * MB), FAB)
    assert part(CONTROL, node(links=busy, **fields)).verdict is Verdict.OPEN


def test_what_would_let_it_tell_is_said() -> None:
    """Where the ends of sockets were not told, by whom they are."""
    busy = (replace(link("ctl0", 0), sent=9 * MB), FAB)
    assert "run it with CAP_NET_ADMIN" in part(CONTROL, node(links=busy, complete=False)).because


def test_whoever_answers_for_a_peer_on_this_node_stood_in_the_way() -> None:
    """E3: the job dialled the peer, and the proxy has the other end of that socket."""
    taken = replace(
        RANK, local_port=15001, local="127.0.0.1", peer="10.91.0.1", peer_port=50001, owner=Owner.PROXY, who="envoy (5)"
    )
    onward = replace(RANK, local_port=50009, owner=Owner.PROXY, who="envoy (5)")
    seen = node(links=(link("ctl0", 1), FAB, link("lo", 4 * DATA)), sockets=(RANK, taken, onward))
    found = part(PROXIES, seen)
    assert found.verdict is Verdict.LEAK
    assert "python3 (7) with 10.91.0.2:50002 has envoy (5) at its other end, 127.0.0.1:15001" in found.figures[1]
    assert part(STRANGERS, seen).verdict is Verdict.LEAK
    assert part(FABRIC, seen).verdict is Verdict.OPEN


def test_ranks_of_one_node_may_talk_by_loopback() -> None:
    """Two sockets of the job with each other are between no one."""
    one = replace(RANK, local_port=1, peer="10.91.0.1", peer_port=2)
    two = replace(RANK, local_port=2, peer="10.91.0.1", peer_port=1)
    seen = node(links=(link("ctl0", 1), FAB, link("lo", 4 * DATA)), sockets=(RANK, one, two))
    assert part(PROXIES, seen).verdict is Verdict.PROVED
    assert part(STRANGERS, seen).verdict is Verdict.PROVED
    for fields in ({"complete": False}, {"sockets": (RANK,)}, {"sockets": None}):
        assert part(PROXIES, replace(seen, **fields)).verdict is Verdict.OPEN


def test_whoever_has_the_other_end_unseen_may_be_a_rank() -> None:
    """It was closed before anybody looked: no leak is claimed, and no proof."""
    other = replace(RANK, local_port=15001, local="127.0.0.1", peer="10.91.0.1", peer_port=50001, owner=Owner.UNKNOWN)
    seen = node(links=(link("ctl0", 1), FAB, link("lo", 4 * DATA)), sockets=(RANK, other))
    assert part(PROXIES, seen).verdict is Verdict.OPEN


def test_a_proxys_own_counters_are_believed() -> None:
    """Wherever its sockets are."""
    assert part(PROXIES, node(proxies=(Proxy("x at /y", 2 * MB),))).verdict is Verdict.LEAK
    assert part(PROXIES, node(proxies=(Proxy("x at /y", 5000),))).verdict is Verdict.PROVED


def test_a_strangers_socket_on_the_fabric_is_a_leak() -> None:
    """Named with its process."""
    found = part(STRANGERS, node(sockets=(RANK, STORE, STRANGER)))
    assert found.verdict is Verdict.LEAK
    assert found.figures[0].startswith("sshd (9) moved 100,000,000 bytes from 10.91.0.1 to 10.91.0.3:40000")


def test_what_is_in_no_socket_is_a_leak() -> None:
    """A flood of UDP, or of packets that nobody asked for; in either direction."""
    for busy in (replace(FAB, received=FAB.received + 5 * MB), replace(FAB, sent=FAB.sent + 5 * MB)):
        seen = node(links=(busy, link("lo", 0)))
        assert part(STRANGERS, seen).verdict is Verdict.LEAK
        assert part(STRANGERS, replace(seen, filter=filtered())).verdict is Verdict.LEAK
        assert part(STRANGERS, replace(seen, complete=False)).verdict is Verdict.OPEN


def test_what_the_filter_refused_got_nowhere() -> None:
    """It is told, and is no leak."""
    seen = node(links=(replace(FAB, received=FAB.received + 5 * MB), link("lo", 0)))
    found = part(STRANGERS, replace(seen, filter=filtered(refused_in=Count(4000, 5 * MB - 18 * 4000))))
    assert found.verdict is Verdict.PROVED
    assert "the filter refused 4,000 packets coming in, 4,928,000 bytes" in found.figures


def test_segments_that_came_twice_are_the_jobs() -> None:
    """No socket counts them; the filter does."""
    again = DATA // 50
    seen = node(links=(replace(FAB, received=FAB.received + again), link("lo", 0)))
    assert part(STRANGERS, seen).verdict is Verdict.PROVED
    much = node(links=(replace(FAB, received=FAB.received + DATA // 5), link("lo", 0)))
    assert part(STRANGERS, much).verdict is Verdict.LEAK
    came = MappingProxyType({"team-a/llama": Count(900, DATA + DATA // 5 + 40_000)})
    assert part(STRANGERS, replace(much, filter=filtered(incoming=came))).verdict is Verdict.PROVED


def test_another_granted_job_is_a_neighbour_and_no_stranger() -> None:
    """The filter has counted that it keeps to its own members."""
    both = replace(
        FAB,
        received=2 * FAB.received,
        sent=2 * FAB.sent,
        packets_in=2 * FAB.packets_in,
        packets_out=2 * FAB.packets_out,
    )
    seen = node(links=(both, link("lo", 0)), sockets=(RANK, STORE, STRANGER))
    assert part(STRANGERS, seen).verdict is Verdict.LEAK
    own = filtered().incoming
    two = MappingProxyType({**own, "team-a/other": Count(900, DATA + 40_000)})
    found = part(STRANGERS, replace(seen, filter=filtered(incoming=two, outgoing=two)))
    assert found.verdict is Verdict.PROVED
    assert "of other jobs" in found.because


def test_a_socket_that_nobody_saw_is_neither() -> None:
    """It may have been the job's."""
    seen = node(sockets=(replace(RANK, owner=Owner.UNKNOWN, who=""), STORE))
    assert part(STRANGERS, seen).verdict is Verdict.OPEN


def test_of_queue_pairs_nothing_is_claimed() -> None:
    """Adapters count their bytes, and not whose they are."""
    seen = node(rdma=MappingProxyType({"mlx5_0:1": 9 * DATA}))
    assert part(FABRIC, seen, sockets=False).verdict is Verdict.PROVED
    assert part(FABRIC, CLEAN, sockets=False).verdict is Verdict.OPEN
    assert part(STRANGERS, seen, sockets=False).verdict is Verdict.OPEN
    assert part(STRANGERS, node(sockets=(STRANGER,)), sockets=False).verdict is Verdict.LEAK


def test_without_networks_the_nodes_own_addresses_say_what_is_the_fabrics() -> None:
    """A document may name none."""
    assert part(FABRIC, CLEAN, networks=()).verdict is Verdict.PROVED
    assert part(FABRIC, node(own=MappingProxyType({**OWN, "fab0": ()})), networks=()).verdict is Verdict.OPEN
