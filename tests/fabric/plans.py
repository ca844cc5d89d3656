"""A small plan for tests: one node with one or two interfaces of a fabric."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

from ringfence.fabric.node import Node, NodeInterface
from ringfence.fabric.plan import FabricPlan, plan_node
from ringfence.fabric.plan_links import Gateway, Links
from ringfence.policy.fabrics import Enforcer, Fabric, FabricKind
from tests.fabric.nodes import fabric

NODE = Node((NodeInterface("eth0"), NodeInterface("fab0"), NodeInterface("fab1"), NodeInterface("lo")))
LINKS = Links(
    (
        ("lo", ip_interface("127.0.0.1/8")),
        ("eth0", ip_interface("10.90.0.1/24")),
        ("fab0", ip_interface("10.91.0.1/25")),
        ("fab0", ip_interface("fd91::1/64")),
        ("fab1", ip_interface("10.91.0.129/25")),
        ("fab1", ip_interface("192.0.2.1/24")),
    ),
    (
        Gateway("default", "10.90.0.254", "eth0"),
        Gateway("10.91.0.0/25", "", "fab0"),
        Gateway("10.91.8.0/24", "10.91.0.126", "fab0"),
        Gateway("198.51.100.0/24", "10.91.0.126", "fab0"),
    ),
)
JOBS = {"team-a/llama": ("10.91.0.1", "10.91.0.2", "fd91::1"), "team-b/idle": ()}


def rail(*interfaces: str, **fields: Any) -> Fabric:
    """A fabric of sockets that the node's own filter enforces."""
    given = {"cidrs": ("10.91.0.0/16", "fd91::/64"), "enforced_by": Enforcer.HOST_FIREWALL, **fields}
    return fabric(given.pop("kind", FabricKind.TCP), *(interfaces or ("fab*",)), **given)


def planned(*interfaces: str, **fields: Any) -> FabricPlan:
    """It on the node, with one job that has members and one that has none."""
    return plan_node(rail(*interfaces, **fields), NODE, LINKS, JOBS)
