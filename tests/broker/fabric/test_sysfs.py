"""Reading the devices of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.fabric.sysfs import read_node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, NodeInterface, RdmaPort
from tests.broker.fabric.sysfs import cxi_device, interface, pci_device, rdma_device


def test_what_the_kernel_shows_is_read(tmp_path: Path) -> None:
    """Interfaces with the PCI function they are on, however deep; ports with their tables, indexes in order."""
    interface(tmp_path, "lo")
    interface(tmp_path, "eth0", pci_device(tmp_path, "0000:00:03.0") / "virtio2")
    keys = (0xFFFF, 0x8123, *[0] * 9, 0x8456)
    rdma_device(tmp_path, "mlx5_0", pci_device(tmp_path, "0000:50:00.0", "ib0"), pkeys=keys)
    cxi_device(tmp_path, "cxi0", pci_device(tmp_path, "0000:21:00.0", "hsn0"))

    assert read_node(tmp_path) == Node(
        (
            NodeInterface("eth0", "0000:00:03.0"),
            NodeInterface("hsn0", "0000:21:00.0"),
            NodeInterface("ib0", "0000:50:00.0"),
            NodeInterface("lo"),
        ),
        (
            RdmaPort("mlx5_0", 1, "InfiniBand", keys, ("ib0",), "0000:50:00.0"),
            RdmaPort("cxi0", 1, "Slingshot", (), ("hsn0",), "0000:21:00.0"),
        ),
    )


def test_this_machine_is_a_node() -> None:
    """With a loopback interface, whether its kernel knows RDMA or not."""
    assert "lo" in {one.name for one in read_node(Path("/sys")).interfaces}


def test_a_folder_that_is_no_sys_is_an_error(tmp_path: Path) -> None:
    """It would otherwise be a node without any interface."""
    with pytest.raises(RingfenceError, match="Name a /sys with --sys") as error:
        read_node(tmp_path)
    assert error.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("text", ["", "fffe", "0x12345", "0xffff 0x1", "-0x1"])
def test_an_entry_that_is_no_key_is_an_error_with_its_file(tmp_path: Path, text: str) -> None:
    """A key that is misread is another tenant's partition."""
    interface(tmp_path, "lo")
    port = rdma_device(tmp_path, "mlx5_0", pci_device(tmp_path, "0000:50:00.0"), pkeys=(0xFFFF, 0x8123))
    (port / "pkeys" / "1").write_text(text)
    with pytest.raises(RingfenceError, match="partition keys") as error:
        read_node(tmp_path)
    assert error.value.where == str(port / "pkeys" / "1")


def test_a_table_with_a_gap_is_an_error(tmp_path: Path) -> None:
    """Of a copy that lost a file every later index would be one too small."""
    interface(tmp_path, "lo")
    port = rdma_device(tmp_path, "mlx5_0", pci_device(tmp_path, "0000:50:00.0"), pkeys=(0xFFFF, 0x8123, 0x8456))
    (port / "pkeys" / "1").unlink()
    with pytest.raises(RingfenceError, match="no entry 1 of a table"):
        read_node(tmp_path)


def test_an_unknown_link_layer_is_an_error(tmp_path: Path) -> None:
    """By it a port is on a fabric of InfiniBand or of RoCE."""
    interface(tmp_path, "lo")
    rdma_device(tmp_path, "mlx5_0", pci_device(tmp_path, "0000:50:00.0"), layer="Token Ring")
    with pytest.raises(RingfenceError, match="'Token Ring' is no link layer"):
        read_node(tmp_path)
