"""Ports of RDMA devices as /sys/class/infiniband shows them: state, link layer, rate, GIDs, partition keys, counters.

Source: Linux, Documentation/ABI/stable/sysfs-class-infiniband. The edge reads the files and gives path to text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import MAX_FACTS, MAX_LINE, decimal, whole

ROOT = "/sys/class/infiniband"
# port_xmit_data and port_rcv_data count words of four bytes.
WORD = 4
_PORT = re.compile(r"(?:.*/)?infiniband/([^/]{1,64})/ports/(\d{1,3})/(.{1,128})", re.DOTALL)
_RATE = re.compile(r"^([0-9.]{1,16}) Gb/sec")
_NO_GID = {"", "0000:0000:0000:0000:0000:0000:0000:0000"}
_NO_KEY = {"", "0x0000"}


@dataclass(frozen=True, slots=True)
class Port:
    """One port; counters are by their file's name, those of hw_counters beside those of counters."""

    device: str
    number: int
    state: str = ""  # "4: ACTIVE"
    link_layer: str = ""  # InfiniBand or Ethernet
    rate: float = 0.0  # Gbit/s
    gids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    paths: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # of each counter

    @property
    def active(self) -> bool:
        """Whether it carries traffic."""
        return self.state.endswith("ACTIVE")

    @property
    def name(self) -> str:
        """As NCCL and UCX write it."""
        return f"{self.device}:{self.number}"


@dataclass(slots=True)
class _Gathered:
    plain: dict[str, str] = field(default_factory=dict)
    gids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)


def ports(files: Mapping[str, str]) -> tuple[Port, ...]:
    """The ports that *files* describe, by device and number; files of anything else say nothing."""
    found: dict[tuple[str, int], _Gathered] = {}
    for path, text in sorted(files.items()):
        place = _PORT.fullmatch(path)
        if place and len(found) < MAX_FACTS:
            gathered = found.setdefault((place.group(1), int(place.group(2))), _Gathered())
            _gather(gathered, path, place.group(3), text[:MAX_LINE].strip())
    return tuple(_port(device, number, gathered) for (device, number), gathered in sorted(found.items()))


def _gather(gathered: _Gathered, path: str, inner: str, text: str) -> None:
    folder, _, name = inner.rpartition("/")
    match folder:
        case "counters" | "hw_counters":
            value = whole(text)
            if value is not None:
                gathered.counters[name] = value
                gathered.paths[name] = path
        case "gids" if text not in _NO_GID:
            gathered.gids.append(text)
        case "pkeys" if text not in _NO_KEY:
            gathered.keys.append(text)
        case "gid_attrs/ndevs" if text and text not in gathered.interfaces:
            gathered.interfaces.append(text)
        case "":
            gathered.plain[name] = text
        case _:
            pass  # what no sign looks at


def _port(device: str, number: int, gathered: _Gathered) -> Port:
    rate = _RATE.search(gathered.plain.get("rate", ""))
    return Port(
        device,
        number,
        gathered.plain.get("state", ""),
        gathered.plain.get("link_layer", ""),
        (decimal(rate.group(1)) or 0.0) if rate else 0.0,
        tuple(gathered.gids),
        tuple(gathered.keys),
        tuple(gathered.interfaces),
        MappingProxyType(gathered.counters),
        MappingProxyType(gathered.paths),
    )
