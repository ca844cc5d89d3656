"""Reads the network and RDMA devices of a node from its /sys, or from a copy of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, NodeInterface, RdmaPort

_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_KEY = re.compile(r"0x[0-9a-f]{1,4}")
_LAYERS = frozenset({"InfiniBand", "Ethernet", "Unspecified"})  # ib_port_phys_layer of the kernel


def read_node(sys: Path) -> Node:
    """The interfaces of class/net and the ports of class/infiniband and class/cxi below *sys*.

    A kernel without RDMA has neither of the last two, and the node then no ports. Raises NOT_FOUND where *sys* is no
    /sys at all, INVALID for a file that says what no kernel says.
    """
    interfaces = sys / "class" / "net"
    if not interfaces.is_dir():
        raise RingfenceError(Kind.NOT_FOUND, "no such folder", where=str(interfaces), hint="Name a /sys with --sys")
    return Node(
        tuple(NodeInterface(name, _pci(interfaces / name)) for name in _names(interfaces)),
        (*_verbs_ports(sys / "class" / "infiniband"), *_slingshot(sys / "class" / "cxi")),
    )


def _verbs_ports(devices: Path) -> Iterator[RdmaPort]:
    for device in _names(devices):
        at = devices / device
        for number in sorted(int(name) for name in _names(at / "ports") if name.isdecimal()):
            port = at / "ports" / str(number)
            keys = tuple(_pkeys(port / "pkeys"))
            yield RdmaPort(device, number, _layer(port / "link_layer"), keys, _names(at / "device" / "net"), _pci(at))


def _slingshot(devices: Path) -> Iterator[RdmaPort]:
    for device in _names(devices):
        at = devices / device
        yield RdmaPort(device, 1, "Slingshot", (), _names(at / "device" / "net"), _pci(at))


def _pkeys(table: Path) -> Iterator[int]:
    """By index from 0, without a gap: the kernel shows every entry, 0x0000 where one is empty."""
    found = sorted(int(name) for name in _names(table) if name.isdecimal())
    for place, index in enumerate(found):
        text = _text(table / str(index))
        if place != index or not _KEY.fullmatch(text):
            raise RingfenceError(
                Kind.INVALID,
                f"{text!r} is no entry {place} of a table of partition keys",
                where=str(table / str(index)),
                hint="Copy the whole folder pkeys from the node's /sys",
            )
        yield int(text, 16)


def _layer(file: Path) -> str:
    text = _text(file)
    if text not in _LAYERS:
        raise RingfenceError(
            Kind.INVALID, f"{text!r} is no link layer", where=str(file), hint="Copy it from the node's /sys"
        )
    return text


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise RingfenceError(
            Kind.INVALID, f"cannot be read: {error.strerror}", where=str(file), hint="Check --sys"
        ) from error


def _pci(device: Path) -> str:
    """The PCI function that *device* is on, by where its link `device` leads; empty for what is on none."""
    found = _PCI.findall(str((device / "device").resolve()))
    return found[-1] if found else ""
