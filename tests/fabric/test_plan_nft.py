"""The packet filter of a fabric: its text, and that nft takes the text of any plan."""

from __future__ import annotations

import subprocess
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, NodeInterface
from ringfence.fabric.plan import FabricPlan, plan_node
from ringfence.fabric.plan_links import Links
from ringfence.fabric.plan_nft import interfaces_in, removal, ruleset, table_of
from ringfence.policy.fabrics import Enforcer, FabricKind, PortSpan
from tests import parts
from tests.fabric.plans import LINKS, NODE, planned, rail

GOLDEN = Path(__file__).parent / "golden" / "plan.nft"


def test_the_whole_filter_is_as_it_was_read_and_found_right() -> None:
    """Golden: two interfaces, two families, a job with members and one with none."""
    assert ruleset(planned(), {"fab0": "arp_ignore=0 arp_announce=0 rp_filter=1"}) == GOLDEN.read_text()


def test_what_is_one_alone_is_compared_and_not_looked_up() -> None:
    """A set costs each packet of a collective more than a comparison; of several there is one all the same."""
    one = ruleset(planned())
    assert 'iifname "fab*" goto fabric_in' in one
    assert "tcp dport 50000-51000 accept" in one
    assert not {"set denied {", "set ports {"} & {line.strip() for line in one.splitlines()}
    several = ruleset(planned("fab0", "fab1", ports=(PortSpan(1, 2), PortSpan(5, 5))))
    assert "iifname @denied goto fabric_in" in several
    assert "tcp dport @ports accept" in several
    assert "tcp dport @ports accept" in ruleset(planned(ports=()))  # of no port: nothing


def test_members_are_looked_at_first() -> None:
    """Before neighbours and routers, of whom there are few packets."""
    for name in ("fabric_in", "fabric_out"):
        chain = ruleset(planned()).partition(f"chain {name} {{")[2].partition("}\n  chain")[0]
        assert (
            chain.index("jump members")
            < chain.index("nd-neighbor-solicit")
            < chain.index("counter d" if name == "fabric_in" else "counter reject")
        )


def test_what_no_rule_sees_is_said() -> None:
    """RDMA passes the adapter, and what keeps strangers off it is something else."""
    said = ruleset(planned(kind=FabricKind.ROCE, enforced_by=Enforcer.SWITCH_ACL))
    assert "UDP 4791" in said.partition("add table")[0]
    assert "switch-acl" in said.partition("add table")[0]
    assert "UDP" not in ruleset(planned())


def test_interfaces_are_read_back_with_what_they_were() -> None:
    """From nft's JSON, with a comment or without; anything else is refused."""
    listing = """{"nftables":[{"metainfo":{}},{"set":{"name":"ports","elem":[1]}},{"set":{"name":"interfaces","elem":
      [{"elem":{"val":"fab0","comment":"rp_filter=1"}},"fab1"]}}]}"""
    assert interfaces_in(listing) == [("fab0", "rp_filter=1"), ("fab1", "")]
    for wrong in ("", "{}", '{"nftables":[{"set":1}]}'):
        with pytest.raises(RingfenceError) as caught:
            interfaces_in(wrong)
        assert caught.value.kind is Kind.INVALID


def test_the_kernel_drops_a_member_at_its_end() -> None:
    """In whole seconds, and never later; one whose end has come is none."""
    jobs = {"team-a/llama": {"10.91.0.1": 0, "10.91.0.2": 1060, "10.91.0.3": 1000}}
    said = ruleset(plan_node(rail(), NODE, LINKS, jobs), now=1000.5)
    assert "{ 10.91.0.1, 10.91.0.2 timeout 59s }" in said
    assert "10.91.0.3" not in said


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
JOBS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
PORTS = st.builds(
    lambda one, other: PortSpan(min(one, other), max(one, other)), *[st.integers(1, 65535) for _ in range(2)]
)
MEMBERS = st.lists(
    st.integers(0, 255).map(lambda host: f"10.91.0.{host}") | st.integers(0, 65535).map(lambda host: f"fd91::{host:x}"),
    max_size=4,
).map(tuple)


LEASED = MEMBERS.flatmap(lambda texts: st.fixed_dictionaries(dict.fromkeys(texts, st.integers(0, 10**10))))


@st.composite
def plans(draw: st.DrawFn) -> FabricPlan:
    """Any that documents and a node can make: names as far as their own checks let them go."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    tenant, kind = draw(LABELS), draw(st.sampled_from([FabricKind.TCP, FabricKind.ROCE]))
    fabric = rail(
        *names,
        kind=kind,
        namespace=draw(LABELS),
        name=draw(LABELS),
        ports=tuple(draw(st.lists(PORTS, max_size=3))),
        cidrs=draw(st.sampled_from([("10.91.0.0/24", "fd91::/64"), ("10.91.0.0/16", "10.91.0.0/24", "fd91::/64")])),
    )
    held = tuple((name, ip_interface(f"10.91.0.{place + 1}/24")) for place, name in enumerate(names))
    jobs = draw(st.dictionaries(JOBS.map(lambda job: f"{tenant}/{job}"), MEMBERS | LEASED, max_size=3))
    return plan_node(fabric, Node(tuple(map(NodeInterface, names))), Links(held), jobs)


@settings(max_examples=40, deadline=None)
@given(plans())
def test_nft_takes_the_text_of_any_plan(plan: FabricPlan) -> None:
    """In a network namespace of its own, of which nothing is kept: put there twice, and taken away."""
    parts.root()
    nft, unshare = parts.program("nft", "nftables"), parts.program("unshare", "util-linux")
    text = ruleset(plan, {plan.nics[0].name: "arp_ignore=0 arp_announce=0 rp_filter=2"})
    table = table_of(plan.fabric.key)
    steps = (
        ("--check -f -", text),
        ("-f -", text + text),
        (f"-j list table {table}", ""),
        ("-f -", removal(plan.fabric.key)),
    )
    script = "".join(f"{nft} {words} <<'END'\n{fed}END\n" for words, fed in (*steps, ("list ruleset >&2", "")))
    done = subprocess.run([unshare, "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), text
    assert {name for name, _ in interfaces_in(done.stdout)} == {nic.name for nic in plan.nics}
