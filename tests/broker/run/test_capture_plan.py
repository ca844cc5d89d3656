"""The firewall of a captured workload, as text: what goes past the proxy comes first, the end of every way is no."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network, IPv6Network
from textwrap import dedent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringfence.broker.run.capture_exclusions import Exclusions
from ringfence.broker.run.capture_plan import CapturePlan, no_routes, removal, routes, ruleset
from ringfence.certs.errors import RingfenceError
from tests import parts

FABRIC = CapturePlan(Exclusions.parse(["fab0"], ["192.168.50.0/24", "fd00:fab::/64"]), ((8080, 0), (10002, 10101)))
BARE = CapturePlan()
GOLDEN = """\
    add table inet ringfence
    delete table inet ringfence
    table inet ringfence {
      set interfaces {
        type ifname
        elements = { "fab0" }
      }
      set excluded4 {
        type ipv4_addr
        flags interval
        auto-merge
        elements = { 192.168.50.0/24 }
      }
      set metadata4 {
        type ipv4_addr
        flags interval
        auto-merge
        elements = { 169.254.0.0/16, 100.100.100.200/32, 168.63.129.16/32, 192.0.0.192/32 }
      }
      set excluded6 {
        type ipv6_addr
        flags interval
        auto-merge
        elements = { fd00:fab::/64 }
      }
      set metadata6 {
        type ipv6_addr
        flags interval
        auto-merge
        elements = { fe80::/10, fd00:ec2::/32, fd20:ce::/32 }
      }
      set served {
        type inet_service
        flags interval
        auto-merge
        elements = { 8080, 10002-10101 }
      }
      chain capture {
        type nat hook output priority -100; policy accept;
        oifname @interfaces icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        oifname @interfaces ip daddr != @metadata4 accept
        oifname @interfaces ip6 daddr != @metadata6 accept
        ip daddr @excluded4 accept
        ip6 daddr @excluded6 accept
        meta nfproto ipv4 udp dport 53 redirect to :14053
        fib daddr type local accept
        meta nfproto ipv4 meta l4proto tcp redirect to :14001
      }
      chain out {
        type filter hook output priority 0; policy drop;
        oifname @interfaces icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        oifname @interfaces ip daddr != @metadata4 accept
        oifname @interfaces ip6 daddr != @metadata6 accept
        ip daddr @excluded4 accept
        ip6 daddr @excluded6 accept
        fib daddr type local accept
        counter reject with icmpx admin-prohibited
      }
      chain in {
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        tcp dport @served counter drop
        iifname @interfaces accept
        ip saddr @excluded4 accept
        ip6 saddr @excluded6 accept
        counter drop
      }
      chain forward {
        type filter hook forward priority 0; policy drop;
      }
    }
"""


def chain(plan: CapturePlan, name: str) -> list[str]:
    """The rules of a chain, in order."""
    text = ruleset(plan).partition(f"chain {name} {{\n")[2].partition("  }\n")[0]
    return [line.strip() for line in text.splitlines()]


def test_the_whole_of_it() -> None:
    """As it is given to nft."""
    assert ruleset(FABRIC) == dedent(GOLDEN)


def test_a_transaction_replaces_what_is_there() -> None:
    """Also when nothing is there: deleting what was just added never fails."""
    assert ruleset(BARE).startswith(removal())
    assert removal() == "add table inet ringfence\ndelete table inet ringfence\n"


@pytest.mark.parametrize("name", ["out", "in", "forward"])
def test_what_no_rule_takes_is_dropped(name: str) -> None:
    """Packets of a protocol that nobody thought of too."""
    assert chain(BARE, name)[0].endswith("policy drop;")


def test_exclusions_come_before_capture_and_before_names() -> None:
    """A collective's packet meets nothing of ours but a look into a set."""
    rules = chain(FABRIC, "capture")
    turned = min(n for n, rule in enumerate(rules) if "redirect" in rule)
    assert all(n < turned for n, rule in enumerate(rules) if "@interfaces" in rule or "@excluded" in rule)


def test_no_exclusion_leads_to_a_metadata_service() -> None:
    """Networks cannot hold one; an interface may have a route to one."""
    for name in ("capture", "out"):
        for rule in chain(FABRIC, name):
            if "oifname @interfaces ip" in rule:
                assert "!= @metadata" in rule


def test_served_ports_are_dropped_before_the_fabric_is_let_in() -> None:
    """Only the proxy, over loopback, reaches them."""
    rules = chain(FABRIC, "in")
    assert rules.index("tcp dport @served counter drop") < rules.index("iifname @interfaces accept")


def test_without_a_fabric_no_interface_is_let_past() -> None:
    """Nothing leaves, nothing comes in."""
    assert "@interfaces" not in "".join(chain(BARE, "capture") + chain(BARE, "out") + chain(BARE, "in"))


def test_routes_come_and_go_alike() -> None:
    """What was added is named for removal, so that a route of the namespace's own stays."""
    assert routes().splitlines()[1].removeprefix("route replace ") == no_routes().strip().removeprefix("route del ")


_NETWORKS = st.one_of(
    st.builds(
        lambda a, n: f"{IPv4Network((a, n), strict=False)}", st.integers(1 << 24, (240 << 24) - 1), st.integers(1, 32)
    ),
    st.builds(
        lambda a, n: f"{IPv6Network((a, n), strict=False)}", st.integers(1 << 100, 1 << 127), st.integers(8, 128)
    ),
)
_INTERFACES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True).filter(lambda name: name != "lo")
_SERVED = st.lists(st.tuples(st.integers(1, 60000), st.just(0) | st.integers(60001, 65535)), max_size=5)


@settings(max_examples=25, deadline=None)
@given(st.lists(_INTERFACES, max_size=3), st.lists(_NETWORKS, max_size=5), _SERVED)
@example(["fab0"], ["10.0.0.0/8", "10.1.0.0/16", "fd00:fab::/64"], [(8080, 0), (8000, 9000)])
def test_nft_takes_whatever_the_flags_may_say(
    interfaces: list[str], networks: list[str], served: list[tuple[int, int]]
) -> None:
    """Checked by the real nft and the kernel, in a namespace of its own, and changed by nobody."""
    parts.root()
    unshare, nft = parts.program("unshare", "util-linux"), parts.program("nft", "nftables")
    try:
        exclusions = Exclusions.parse(interfaces, networks)
    except RingfenceError:
        return
    text = ruleset(CapturePlan(exclusions, tuple(served)))
    command = [unshare, "--net", nft, "--check", "--file", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
