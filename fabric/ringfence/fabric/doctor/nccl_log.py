"""What a log of NCCL or RCCL says about networks, in its older and its newer dialect.

Sources: NCCL 2.30 and the logs of 2.5 to 2.23 that issues quote. Formats drift from release to release, so that a line
which is not known says nothing and is no error. Ask for NCCL_DEBUG=INFO and NCCL_DEBUG_SUBSYS=INIT,BOOTSTRAP,ENV,NET.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ringfence.fabric.doctor.bounded import MAX_FACTS, lines


@dataclass(frozen=True, slots=True)
class Said:
    """Something that one line says, by the process of *host*; the host is empty where the line names none."""

    line: int
    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface that a process uses, with its address; a device of RDMA has its port as the address."""

    line: int
    host: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device of RDMA that NCCL opened; *link* is IB or RoCE."""

    line: int
    host: str
    name: str
    port: int
    link: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A work request that the device gave up; *status* is the number of ibv_wc_status, or its name without one."""

    line: int
    host: str
    peer: str
    status: str
    local_gid: str
    remote_gid: str


@dataclass(frozen=True, slots=True)
class NcclLog:
    """The facts of one log, each kind in the order of lines."""

    path: str
    bootstrap: tuple[Interface, ...] = ()
    out_of_band: tuple[Interface, ...] = ()
    sockets: tuple[Interface, ...] = ()
    devices: tuple[Device, ...] = ()
    without_device: tuple[Said, ...] = ()
    networks: tuple[Said, ...] = ()
    plugins: tuple[Said, ...] = ()
    channels: tuple[Said, ...] = ()  # each way between ranks once a host: NET/IB/0/GDRDMA, P2P/CUMEM, SHM/direct
    direct: tuple[Said, ...] = ()  # GPUDirect RDMA: Enabled or Disabled, a device each
    settings: tuple[Said, ...] = ()  # NAME=VALUE, as the environment had it
    failures: tuple[Failure, ...] = ()
    strangers: tuple[Said, ...] = ()  # addresses that knocked with another job's magic
    gloo_refused: tuple[Said, ...] = ()  # addresses that gloo could not connect to

    @property
    def network_ways(self) -> tuple[Said, ...]:
        """The channels that leave the machine."""
        return tuple(way for way in self.channels if way.text.startswith("NET/"))


_HEAD = re.compile(r"NCCL (?:INFO|WARN|ERROR) ?")
_HOST = re.compile(r"(?<![\w.-])([\w.-]{1,253}):\d{1,10}:\d{1,10}(?:\s|$)")
_INTERFACE = re.compile(r"(?:^|(?<=[\s\]]))([^\s:\[\]<>;]{1,64}):([^\s<>;]{1,64})(?:<\d{1,5}>|$)")
_DEVICE = re.compile(r"\[\d{1,3}\]([^\s:/]{1,64}):(\d{1,3})[^\s/]{0,64}/(RoCE|IB)\b")
_PEER = re.compile(r"completion from peer (\S{1,128}) with status=(\S{1,64})")
_CODE = re.compile(r"\((\d{1,3})\)")
_LOCAL = re.compile(r"localGid (\S{1,64})")
_REMOTE = re.compile(r"remoteGids? ?(\S{1,64})")
_GLOO = re.compile(r"remote=\[([^\]]{1,64})\]")
_SAID = (  # the kind, a word that is in every such line, and what the whole looks like
    ("without_device", "NET/IB", re.compile(r"NET/IB ?: (No device found)|(Failed to open libibverbs\S{0,16})")),
    ("networks", "Using network", re.compile(r"Using network (.{1,64}?)\s*$")),
    ("plugins", "plugin ", re.compile(r"Initialized NET plugin (\S{1,64})|NET/Plugin ?: Loaded net plugin (\S{1,64})")),
    ("channels", " via ", re.compile(r"^Channel \S{1,16} : .{0,512} via (\S.{0,127}?)(?: comm .*)?\s*$")),
    ("direct", "GPU Direct RDMA", re.compile(r"GPU Direct RDMA (Enabled|Disabled) for HCA")),
    ("strangers", "magic mismatch", re.compile(r"socketFinalizeAccept from (\S{1,128}?): socket magic mismatch")),
)
_SETTING = re.compile(r"(NCCL_[A-Z0-9_]{1,64}) set by environment to (.{1,256}?)\.?\s*$")


@dataclass(slots=True)
class _Notes:
    """Facts by kind while a log is read; what one host says again in the same words is kept once."""

    found: dict[str, dict[tuple[str, str], object]] = field(default_factory=dict)

    def add(self, kind: str, host: str, key: str, fact: object) -> None:
        known = self.found.setdefault(kind, {})
        if len(known) < MAX_FACTS:
            known.setdefault((host, key), fact)


def nccl_log(text: str, path: str) -> NcclLog:
    """The facts of *text*, which came from *path*."""
    notes = _Notes()
    for number, line in lines(text):
        head = _HEAD.search(line)
        if head:
            host = _HOST.search(line[: head.start()])
            _read(notes, number, host.group(1) if host else "", line[head.end() :])
        elif "connectFullMesh failed" in line and (gloo := _GLOO.search(line)):
            notes.add("gloo_refused", "", gloo.group(1), Said(number, "", gloo.group(1)))
    kinds = {kind: tuple(facts.values()) for kind, facts in notes.found.items()}
    return NcclLog(path, **kinds)  # type: ignore[arg-type]  # each kind holds what `_read` made for it


def _read(notes: _Notes, number: int, host: str, message: str) -> None:
    for kind, word, pattern in _SAID:
        if word in message and (said := pattern.search(message)):
            text = next(group for group in said.groups() if group is not None)
            notes.add(kind, host, text, Said(number, host, text))
    if "set by environment" in message and (setting := _SETTING.search(message)):
        text = f"{setting.group(1)}={setting.group(2)}"
        notes.add("settings", host, text, Said(number, host, text))
    if "completion from peer" in message and (peer := _PEER.search(message)):
        notes.add("failures", host, message[:256], _failure(number, host, peer, message))
    if "Using " in message:
        _read_interfaces(notes, number, host, message)


def _read_interfaces(notes: _Notes, number: int, host: str, message: str) -> None:
    room, _, using = message.partition("Using ")
    match room.rstrip(" :"):
        case "Bootstrap":
            _add_interfaces(notes, "bootstrap", number, host, using)
        case "NET/Socket":
            _add_interfaces(notes, "sockets", number, host, using)
        case "NET/IB":
            devices, _, out_of_band = using.partition("OOB ")
            _add_interfaces(notes, "out_of_band", number, host, out_of_band)
            for name, port, link in _DEVICE.findall(devices):
                notes.add("devices", host, f"{name}:{port}", Device(number, host, name, int(port), link))
        case _:
            pass  # another room of NCCL uses something


def _add_interfaces(notes: _Notes, kind: str, number: int, host: str, text: str) -> None:
    for name, address in _INTERFACE.findall(text):
        notes.add(kind, host, f"{name}:{address}", Interface(number, host, name, address))


def _failure(number: int, host: str, peer: re.Match[str], message: str) -> Failure:
    code = _CODE.search(peer.group(2))
    local, remote = _LOCAL.search(message), _REMOTE.search(message)
    return Failure(
        number,
        host,
        peer.group(1).partition("<")[0],
        code.group(1) if code else peer.group(2),
        local.group(1).strip(",") if local else "",
        remote.group(1).strip(",") if remote else "",
    )
