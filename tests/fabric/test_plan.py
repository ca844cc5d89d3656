"""What a node is to hold for a fabric, and what is refused before anything is changed."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, RdmaPort
from ringfence.fabric.plan import Member, plan_node
from ringfence.fabric.plan_links import Gateway, Links
from ringfence.policy.fabrics import FabricKind, Plane
from tests.fabric.plans import LINKS, NODE, planned, rail


def test_a_node_has_its_interfaces_with_their_addresses_on_the_fabric() -> None:
    """An address of another network on one of them is none of the fabric's; a gateway to the rest of it is."""
    found = planned()
    assert [nic.name for nic in found.nics] == ["fab0", "fab1"]
    assert [str(address) for address in found.own] == ["10.91.0.1", "fd91::1", "10.91.0.129"]
    assert found.nics[0].gateways == (Gateway("10.91.8.0/24", "10.91.0.126", "fab0"),)


def test_a_job_without_a_member_is_there_with_nobody() -> None:
    """So that what is not said is denied; an address that is named twice is there once."""
    found = plan_node(rail(), NODE, LINKS, {"b/j": (), "a/j": ("10.91.0.9", "10.91.0.2", "10.91.0.9")})
    assert [(one.job, one.addresses) for one in found.members] == [
        ("a/j", (ip_address("10.91.0.2"), ip_address("10.91.0.9"))),
        ("b/j", ()),
    ]


@pytest.mark.parametrize(
    ("interfaces", "fields", "kind", "said"),
    [
        (("fab*",), {"plane": Plane.STORAGE}, Kind.INVALID, "plane storage"),
        (("ib0",), {}, Kind.NOT_FOUND, "no network interface on this node"),
        ((), {"kind": FabricKind.NVLINK, "interfaces": ()}, Kind.NOT_FOUND, "no network interface"),
        (("fab0", "eth0"), {}, Kind.CONFLICT, "eth0, by which this node's default route leads"),
        (("fab0",), {}, Kind.CONFLICT, "10.91.0.129/25 on fab1, which is no interface of it"),
        (("fab*",), {"cidrs": ("10.0.0.0/8",)}, Kind.CONFLICT, "10.90.0.1/24 on eth0"),
    ],
)
def test_what_would_cut_the_node_off_is_refused(
    interfaces: tuple[str, ...], fields: dict[str, Any], kind: Kind, said: str
) -> None:
    """Another plane, no interface, the control interface, a network of another one: with the place of the document."""
    with pytest.raises(RingfenceError, match=said) as caught:
        planned(*interfaces, **fields)
    assert (caught.value.kind, caught.value.where) == (kind, "fabric.yaml:1")


@pytest.mark.parametrize("address", ["10.92.0.1", "::ffff:10.91.0.1", "fd91::1%fab0", "10.91.0.0/24", "", "all"])
def test_a_member_is_an_address_of_the_fabric(address: str) -> None:
    """Another network's would be let in by a mistake in a file."""
    with pytest.raises(RingfenceError, match="team-a/llama") as caught:
        plan_node(rail(), NODE, LINKS, {"team-a/llama": (address,)})
    assert caught.value.kind is Kind.INVALID


def test_no_address_is_in_jobs_of_two_tenants() -> None:
    """The ranks of one would reach those of the other by it; two jobs of one tenant may share a node."""
    plan_node(rail(), NODE, LINKS, {"team-a/x": ("10.91.0.1",), "team-a/y": ("10.91.0.1",)})
    with pytest.raises(RingfenceError, match="two tenants, team-a and team-b") as caught:
        plan_node(rail(), NODE, LINKS, {"team-a/x": ("10.91.0.1",), "team-b/y": ("10.91.0.1",)})
    assert caught.value.kind is Kind.CONFLICT


def test_a_fabric_without_networks_has_every_address_of_its_interfaces_and_no_member() -> None:
    """Nothing says which address is on it, so that none is let in."""
    links = Links((("fab0", ip_interface("10.91.0.1/24")),))
    found = plan_node(rail("fab0", cidrs=()), NODE, links, {"team-a/llama": ()})
    assert [str(address) for address in found.own] == ["10.91.0.1"]
    with pytest.raises(RingfenceError, match="its networks are none"):
        plan_node(rail("fab0", cidrs=()), NODE, links, {"team-a/llama": ("10.91.0.1",)})


@pytest.mark.parametrize(
    ("interfaces", "denied"),
    [
        (("fab*",), ("fab*",)),
        (("fab0", "fab1", "ib0"), ("fab0", "fab1", "ib0")),
        (("fab*", "fab0", "fab0x", "fab1*"), ("fab*",)),
        (("fab0", "fab1", "a-longer-name-than-any"), ("fab0", "fab1")),
        (("fab*", "of15characters_*"), ("fab*",)),
    ],
)
def test_what_the_document_names_is_denied_before_it_is_there(
    interfaces: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    """By name and by prefix, each once; what can be no interface's name is left out."""
    assert planned(*interfaces).denied == denied


def test_what_is_no_interface_of_the_fabric_is_not_denied() -> None:
    """A prefix that takes an InfiniBand port of an Ethernet fabric too names its own alone."""
    ports = (RdmaPort("mlx5_0", 1, "InfiniBand", (), ("fab0",)), RdmaPort("mlx5_1", 1, "Ethernet", (), ("fab1",)))
    node = Node(NODE.interfaces, ports)
    links = Links((("fab1", ip_interface("10.91.0.129/25")),))
    assert plan_node(rail(kind=FabricKind.ROCE), node, links, {}).denied == ("fab1",)
    assert plan_node(rail("fab0", "fab1", kind=FabricKind.ROCE), node, links, {}).denied == ("fab1",)


def test_members_have_their_ends() -> None:
    """With the server's lease; without one they stay."""
    found = plan_node(rail(), NODE, LINKS, {"a/j": {"10.91.0.9": 70, "10.91.0.2": 0}})
    assert found.members[0].members == (Member(ip_address("10.91.0.2")), Member(ip_address("10.91.0.9"), 70))
