"""The environment of each kind of fabric, as golden texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.fabric.environment import LONGEST, Environment, compile_environment
from ringfence.fabric.forms import FORMS
from ringfence.policy.fabrics import FabricKind
from tests.fabric.nodes import EFA_NODE, IB_NODE, KINDS, ROCE_NODE, TCP_NODE, fabric

GOLDEN = Path(__file__).parent / "golden"
MAGIC = "0x0123456789abcdef"


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_is_told_as_it_is_written_down(kind: str) -> None:
    """What a job reads is reviewed as text: a change of the compiler shows as a change of these files."""
    one, node, bootstrap = KINDS[kind]

    made = FORMS["env"](compile_environment(one, node, magic=MAGIC, bootstrap=bootstrap))

    assert made == (GOLDEN / f"{kind}.env").read_text()


def test_the_kinds_of_the_golden_texts_are_all_that_there_are() -> None:
    """A new kind of fabric has no environment until somebody writes down what it is to be."""
    assert {kind.value for kind in FabricKind} == set(KINDS) == {file.stem for file in GOLDEN.glob("*.env")}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nvlink"])
def test_a_network_is_pinned_and_interfaces_are_matched_exactly(kind: str) -> None:
    """Without a name NCCL falls back to what works, and without `=` it takes fab01 for fab0."""
    one, node, bootstrap = KINDS[kind]

    variables = compile_environment(one, node, bootstrap=bootstrap).variables

    assert variables["NCCL_NET"]
    for name in ("NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME"):
        assert variables.get(name, "=").startswith("=")


def test_a_partition_is_a_value_for_ucx_and_an_index_for_nccl_and_nvshmem() -> None:
    """Rule 15: the same number for both puts one of them into a partition of somebody else."""
    one, node, _ = KINDS["infiniband"]

    variables = compile_environment(one, node).variables

    assert variables["UCX_IB_PKEY"] == "0x0123"
    assert variables["NCCL_IB_PKEY"] == variables["NVSHMEM_IB_PKEY_INDEX"] == "1"


def test_roce_is_chosen_by_address_and_never_by_index() -> None:
    """A GID's index differs between nodes and after a restart; its network does not."""
    one, node, _ = KINDS["roce"]

    variables = compile_environment(one, node).variables

    assert variables["NCCL_IB_ADDR_RANGE"] == variables["NVSHMEM_IB_ADDR_RANGE"] == "10.92.0.0/23"
    assert "NCCL_IB_GID_INDEX" not in variables


def test_ports_are_bounded_where_sockets_are_on_the_fabric() -> None:
    """By variables where a library has one, by a remark that names the kernel's setting where none has."""
    one, node, _ = KINDS["tcp"]

    made = compile_environment(one, node)

    assert made.variables["UCX_TCP_PORT_RANGE"] == "50000-51000"
    assert made.variables["OMPI_MCA_btl_tcp_port_range_v6"] == "1001"
    assert any("net.ipv4.ip_local_port_range to '50000 51000'" in note for note in made.notes)


def test_sockets_off_the_fabric_are_told_to_be() -> None:
    """A fabric whose ports are closed to sockets is bootstrapped elsewhere, with the remark that Gloo goes there."""
    made = compile_environment(fabric(FabricKind.EFA, "rdmap*"), EFA_NODE, bootstrap="eth0")

    assert made.variables["NCCL_SOCKET_IFNAME"] == "=eth0"
    assert "UCX_TCP_PORT_RANGE" not in made.variables
    assert any("leave the fabric by eth0" in note for note in made.notes)


def test_a_job_without_magic_is_told_so() -> None:
    """Two jobs on one fabric are then told apart by nothing in NCCL's sockets."""
    one, node, _ = KINDS["tcp"]

    assert "NCCL_SOCKET_MAGIC" not in compile_environment(one, node).variables
    assert any("NCCL_SOCKET_MAGIC is not set" in note for note in compile_environment(one, node).notes)
    assert compile_environment(one, node, magic=MAGIC).variables["NCCL_SOCKET_MAGIC"] == MAGIC


def test_one_verbs_device_is_named_to_libfabric_and_several_are_a_remark() -> None:
    """FI_VERBS_DEVICE_NAME is one device."""
    roce = fabric(FabricKind.ROCE, "mlx5_0", cidrs=("10.92.0.0/24",))
    assert compile_environment(roce, ROCE_NODE).variables["FI_VERBS_DEVICE_NAME"] == "mlx5_0"
    two = compile_environment(fabric(FabricKind.INFINIBAND, "mlx5_*"), IB_NODE)
    assert "FI_VERBS_DEVICE_NAME" not in two.variables
    assert any("FI_VERBS_DEVICE_NAME" in note for note in two.notes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NCCL_NET", "IB\n"),
        ("NCCL_NET\n", "IB"),
        ("NCCL_NET", ""),
        ("NCCL_NET", "ü"),
        ("nccl", "IB"),
        ("A=B", "x"),
        ("A", "x" * (LONGEST + 1)),
    ],
)
def test_what_a_form_cannot_carry_is_refused(name: str, value: str) -> None:
    """A line's end in a value would be another variable, or a command of the shell."""
    with pytest.raises(RingfenceError, match="printable ASCII"):
        Environment("a/b", {name: value})


def test_the_same_arguments_make_the_same_bytes() -> None:
    """So that a file of them may be compared."""
    one = fabric(FabricKind.TCP, "fab1", "fab0")

    texts = {FORMS["json"](compile_environment(one, TCP_NODE, magic=MAGIC)) for _ in range(3)}

    assert len(texts) == 1
    assert '"NCCL_SOCKET_IFNAME": "=fab1,fab0"' in texts.pop()
