"""Whose an interface is that several fabrics name."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, NodeInterface
from ringfence.fabric.plan import plan_node
from ringfence.fabric.plan_links import Links
from ringfence.policy.fabrics import Fabric, Plane
from tests.fabric.plans import rail

NODE = Node(tuple(map(NodeInterface, ("eth0", "ib0", "ib0.8012", "ib1"))))


def named(name: str, cidr: str, *interfaces: str, **fields: Any) -> Fabric:
    """A fabric of its own networks."""
    return rail(*interfaces, name=name, cidrs=(cidr,), **fields)


def interfaces(fabric: Fabric, *others: Fabric, held: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that are planned for it on a node with these addresses, and what is denied by its filter."""
    links = Links(tuple((device, ip_interface(address)) for device, address in held.items()))
    plan = plan_node(fabric, NODE, links, {}, (fabric, *others))
    return tuple(nic.name for nic in plan.nics), plan.denied


EAST, WEST = named("east", "10.1.0.0/16", "ib*"), named("west", "10.2.0.0/16", "ib*")


def test_zones_may_call_their_interfaces_alike() -> None:
    """A node is of the one whose networks it has an address in, and of the other it has nothing."""
    held = {"ib0": "10.1.0.1/24", "ib0.8012": "10.1.1.1/24", "ib1": "10.1.2.1/24"}
    assert interfaces(EAST, WEST, held=held) == (("ib0", "ib0.8012", "ib1"), ("ib*",))
    with pytest.raises(RingfenceError, match="no network interface") as caught:
        interfaces(WEST, EAST, held=held)
    assert caught.value.kind is Kind.NOT_FOUND


def test_an_interface_of_a_partition_is_that_partitions() -> None:
    """Though another fabric's beginning of names takes it; that one denies what is its own, name by name."""
    held = {"ib0": "10.1.0.1/24", "ib0.8012": "10.2.0.1/24"}
    assert interfaces(EAST, named("key", "10.2.0.0/16", "ib0.8012"), held=held) == (("ib0", "ib1"), ("ib0", "ib1"))
    assert interfaces(named("key", "10.2.0.0/16", "ib0.8012"), EAST, held=held) == (("ib0.8012",), ("ib0.8012",))


def test_without_an_address_it_is_closed_for_all_that_name_it() -> None:
    """Until it has one, nobody is on it."""
    assert interfaces(EAST, WEST, held={})[0] == interfaces(WEST, EAST, held={})[0] == ("ib0", "ib0.8012", "ib1")


def test_what_has_addresses_of_two_is_the_firsts() -> None:
    """The other is refused, and says with whom: together they would cut off each other's members."""
    links = Links((("ib0", ip_interface("10.1.0.1/24")), ("ib0", ip_interface("10.2.0.1/24"))))
    assert plan_node(EAST, NODE, links, {}, (EAST, WEST)).nics[0].name == "ib0"
    with pytest.raises(RingfenceError, match="has ib0 on this node together with team-a/east") as caught:
        plan_node(WEST, NODE, links, {}, (EAST, WEST))
    assert caught.value.kind is Kind.CONFLICT


def test_networks_of_another_plane_claim_nothing() -> None:
    """Storage may share the wire's names; it has no filter."""
    storage = named("nfs", "10.3.0.0/16", "ib*", plane=Plane.STORAGE)
    assert interfaces(EAST, storage, held={"ib0": "10.3.0.1/24"})[0] == ("ib0", "ib0.8012", "ib1")
