"""A copy of a node's /sys, as `cp` makes one of the folders that matter."""

from __future__ import annotations

from pathlib import Path


def interface(sys: Path, name: str, device: Path | None = None) -> None:
    """Its folder in class/net, with the link to its device where it has one."""
    folder = sys / "class" / "net" / name
    folder.mkdir(parents=True)
    if device is not None:
        (folder / "device").symlink_to(device)


def pci_device(sys: Path, address: str, *interfaces: str) -> Path:
    """A PCI function with network interfaces, which are in class/net too."""
    device = sys / "devices" / "pci0000:00" / address
    for name in interfaces:
        (device / "net" / name).mkdir(parents=True)
        interface(sys, name, device)
    device.mkdir(parents=True, exist_ok=True)
    return device


def rdma_device(sys: Path, name: str, device: Path, *, layer: str = "InfiniBand", pkeys: tuple[int, ...] = ()) -> Path:
    """Port 1 of an RDMA device on a PCI function."""
    folder = sys / "class" / "infiniband" / name
    port = folder / "ports" / "1"
    (port / "pkeys").mkdir(parents=True)
    (folder / "device").symlink_to(device)
    (port / "link_layer").write_text(f"{layer}\n")
    for index, key in enumerate(pkeys):
        (port / "pkeys" / str(index)).write_text(f"{key:#06x}\n")
    return port


def cxi_device(sys: Path, name: str, device: Path) -> None:
    """A device of Slingshot on a PCI function."""
    folder = sys / "class" / "cxi" / name
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
