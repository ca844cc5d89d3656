"""Which devices of a node a fabric has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, NodeInterface, RdmaPort
from ringfence.fabric.resolve import resolve
from ringfence.policy.fabrics import Fabric, FabricKind, Plane, PortSpan
from tests.fabric.nodes import EFA_NODE, ETH, IB_NODE, ROCE_NODE, TCP_NODE, fabric, infiniband, pkey

IB, ROCE, TCP = FabricKind.INFINIBAND, FabricKind.ROCE, FabricKind.TCP


@pytest.mark.parametrize(
    ("interfaces", "devices", "sockets"),
    [
        (["mlx5_0"], ("mlx5_0",), ("ib0",)),
        (["ib1"], ("mlx5_1",), ("ib1",)),
        (["0000:51:00.0"], ("mlx5_1",), ("ib1",)),
        (["ib1", "mlx5_*"], ("mlx5_1", "mlx5_0"), ("ib1", "ib0")),
    ],
)
def test_a_device_is_named_by_itself_its_interface_or_its_address(
    interfaces: list[str], devices: tuple[str, ...], sockets: tuple[str, ...]
) -> None:
    """Whichever an operator writes, the fabric has both, in the order written."""
    on = resolve(fabric(IB, *interfaces), IB_NODE)

    assert (on.devices, on.sockets) == (devices, sockets)


def test_a_name_is_no_prefix() -> None:
    """`fab0` is not `fab01`, and `fab*` is both."""
    assert resolve(fabric(TCP, "fab0"), TCP_NODE).sockets == ("fab0",)
    assert resolve(fabric(TCP, "fab*"), TCP_NODE).sockets == ("fab0", "fab01", "fab1")


def test_a_port_of_another_link_layer_is_not_on_the_fabric() -> None:
    """`mlx5_*` of a node with both: the Ethernet port and its interface stay out of a fabric of InfiniBand."""
    node = Node(
        (*IB_NODE.interfaces, NodeInterface("eth9")), (*IB_NODE.rdma, RdmaPort("mlx5_9", 1, "Ethernet", (), ("eth9",)))
    )

    on = resolve(fabric(IB, "mlx5_*"), node)

    assert (on.devices, on.sockets) == (("mlx5_0", "mlx5_1"), ("ib0", "ib1"))


@pytest.mark.parametrize(
    ("one", "node", "said"),
    [
        (fabric(IB, "mlx5_*"), TCP_NODE, "no InfiniBand port on this node: it is mlx5_*, and the node has none"),
        (fabric(IB, "mlx5_*"), ROCE_NODE, "the node has mlx5_0:1 (Ethernet)"),
        (fabric(TCP, "fab7"), TCP_NODE, "no interface on this node: it is fab7, and the node has eth0, fab0"),
    ],
)
def test_a_node_without_the_fabric_is_an_error_that_says_what_it_has(one: Fabric, node: Node, said: str) -> None:
    """An environment with an empty list would be one in which every interface is taken."""
    with pytest.raises(RingfenceError) as error:
        resolve(one, node)

    assert error.value.kind is Kind.NOT_FOUND
    assert said in error.value.detail
    assert error.value.where == "fabric.yaml:1"


@pytest.mark.parametrize("one", [fabric(FabricKind.EFA, "rdmap*"), fabric(IB, "mlx5_0", ports=())])
def test_ranks_that_cannot_meet_on_the_fabric_need_an_interface_that_is_named(one: Fabric) -> None:
    """NCCL would choose one itself, `ib*` first."""
    node = EFA_NODE if one.kind is FabricKind.EFA else IB_NODE
    with pytest.raises(RingfenceError, match="--bootstrap"):
        resolve(one, node)
    on = resolve(one, node, "eth0")
    assert (on.sockets, on.on_fabric) == (("eth0",), False)


def test_collectives_by_tcp_need_ports() -> None:
    """What the fabric permits to no socket it permits to no collective of sockets."""
    with pytest.raises(RingfenceError, match="permits no ports"):
        resolve(fabric(TCP, "fab0", ports=()), TCP_NODE)


@pytest.mark.parametrize("plane", [plane for plane in Plane if plane is not Plane.FABRIC])
def test_a_network_of_another_plane_carries_no_collectives(plane: Plane) -> None:
    """Storage and management are for identities that have leave, not for a job's ranks among themselves."""
    with pytest.raises(RingfenceError, match=f"of the plane {plane.value}"):
        resolve(fabric(TCP, "fab0", plane=plane), TCP_NODE)


def test_the_interface_to_bootstrap_on_must_be_there() -> None:
    """A name with a slip of the pen would end the job at its start, far from here."""
    with pytest.raises(RingfenceError, match="no interface eth7; it has eth0"):
        resolve(fabric(FabricKind.EFA, "rdmap*"), EFA_NODE, "eth7")


def test_collectives_by_tcp_bootstrap_where_they_run() -> None:
    """NCCL has one list of interfaces for both: another one would take the data along."""
    with pytest.raises(RingfenceError, match="Leave --bootstrap out"):
        resolve(fabric(TCP, "fab0"), TCP_NODE, "eth0")


@pytest.mark.parametrize("name", ["fab0,eth0", "fab0:1", "=fab0", "^fab0", "fab$(id)"])
def test_a_name_that_a_list_gives_a_meaning_is_refused(name: str) -> None:
    """The kernel allows nearly any character in a name, and who renames an interface must not choose a job's others."""
    with pytest.raises(RingfenceError, match="has a character"):
        resolve(fabric(TCP, "*"), Node((NodeInterface(name),)))


def test_a_device_whose_name_a_list_gives_a_meaning_is_refused() -> None:
    """The same, of RDMA devices, which `rdma dev set NAME name` renames."""
    with pytest.raises(RingfenceError, match="has a character"):
        resolve(fabric(IB, "*"), Node((ETH,), (replace(infiniband(0), device="mlx5_0,^mlx5_1"),)), "eth0")


def test_what_nccl_would_leave_out_in_silence_is_an_error() -> None:
    """It takes 16 interfaces and 32 HCAs."""
    many = Node(tuple(NodeInterface(f"fab{number}") for number in range(17)))
    with pytest.raises(RingfenceError, match="17 interfaces on this node, and NCCL takes 16"):
        resolve(fabric(TCP, "fab*"), many)
    hcas = Node((ETH,), tuple(replace(infiniband(0), device=f"mlx5_{number}") for number in range(33)))
    with pytest.raises(RingfenceError, match="33 RDMA ports on this node, and NCCL takes 32"):
        resolve(fabric(IB, "mlx5_*"), hcas, "eth0")


@pytest.mark.parametrize("cidrs", [(), ("10.0.0.0/24", "10.0.2.0/24"), ("10.0.0.0/24", "fd00::/64")])
def test_a_roce_fabric_has_one_network(cidrs: tuple[str, ...]) -> None:
    """NCCL_IB_ADDR_RANGE is one; a wider one that holds both would take the GIDs between them too."""
    with pytest.raises(RingfenceError, match="NCCL_IB_ADDR_RANGE takes one"):
        resolve(fabric(ROCE, "mlx5_0", cidrs=cidrs), ROCE_NODE)


def test_networks_that_are_one_together_are_one() -> None:
    """A fabric's two halves need not be written as one."""
    on = resolve(fabric(ROCE, "mlx5_0", cidrs=("10.0.0.0/24", "10.0.1.0/24")), ROCE_NODE)
    assert on.network == "10.0.0.0/23"


def test_the_family_is_that_of_all_addresses_or_of_none() -> None:
    """A fabric with both says nothing of it."""
    assert resolve(fabric(TCP, "fab0", cidrs=("10.0.0.0/24",)), TCP_NODE).family == "AF_INET"
    assert resolve(fabric(TCP, "fab0", cidrs=("fd00::/64",)), TCP_NODE).family == "AF_INET6"
    assert resolve(fabric(TCP, "fab0", cidrs=("10.0.0.0/24", "fd00::/64")), TCP_NODE).family == ""


def test_the_widest_span_of_ports_is_the_one_that_is_told() -> None:
    """No library takes two; a single port beside it is some service's."""
    on = resolve(fabric(TCP, "fab0", ports=(PortSpan(5600, 5600), PortSpan(50000, 51000))), TCP_NODE)
    assert on.span == PortSpan(50000, 51000)


def test_a_partition_is_looked_up_on_the_fabrics_own_ports() -> None:
    """A port of another fabric may have its table in another order."""
    node = replace(IB_NODE, rdma=(infiniband(0), infiniband(1, table=(0xFFFF,))))
    assert resolve(fabric(IB, "mlx5_0", partition=pkey(0x123)), node).pkey_index == 1
    with pytest.raises(RingfenceError, match="mlx5_1:1 is not in partition"):
        resolve(fabric(IB, "mlx5_*", partition=pkey(0x123)), node)
