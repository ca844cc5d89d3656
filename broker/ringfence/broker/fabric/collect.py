"""Reads a node for the doctor: files of /sys and /proc, and tools that only look. Nothing is sent or changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.fabric.doctor.bounded import MAX_TEXT, address
from ringfence.fabric.doctor.gather import Text

TOOL_TIMEOUT = 10.0  # seconds: a tool that hangs is left out, and said to be
MAX_FILES = 16_384  # of one tree
MAX_FILE = 4096  # characters: the kernel's own limit for an attribute
NO_RDMA = "no RDMA subsystem: {} does not exist, so that devices, ports and their counters are not judged"
_FOLDERS = ("counters", "hw_counters", "pkeys", "gids", "gid_attrs/ndevs")
_SETTINGS = ("rp_filter", "arp_ignore", "arp_announce")
_NAME = re.compile(r"[\w.@][\w.@-]{0,14}")  # IFNAMSIZ; nothing that a tool would take for an option or a path
# Kind of text to the command that prints it. `-s` keeps nstat from writing its history.
_COMMANDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("addr", ("ip", "-j", "addr")),
    ("neigh", ("ip", "-j", "neigh")),
    ("ss", ("ss", "-tainepH")),
    ("nstat", ("nstat", "-asz")),
    ("nft", ("nft", "-j", "list", "ruleset")),
)


@dataclass(frozen=True, slots=True)
class Collected:
    """What could be read, and a line for each thing that could not."""

    texts: tuple[Text, ...]
    files: dict[str, str]
    notes: tuple[str, ...]


def collect(interfaces: tuple[str, ...], peers: tuple[str, ...], root: Path = Path("/")) -> Collected:
    """The node's state as far as it may be read, with the statistics of *interfaces* and the routes to *peers*.

    *root* is where /sys, /proc and /dev are; tools look at the running kernel. Every tool has a limit of time, and
    what is missing or forbidden becomes a note.
    """
    notes: list[str] = []
    files = {**read_ports(root / "sys/class/infiniband"), **_read_settings(root, interfaces)}
    texts = [*_tables(notes), *_of_interfaces(interfaces, peers, notes), *_tracked(root, notes)]
    if (root / "sys/class/infiniband").is_dir():
        texts += _run("rdma-system", ("rdma", "-j", "system"), notes)
        texts += _devices(root / "dev/infiniband")
    else:
        notes.insert(0, NO_RDMA.format("/sys/class/infiniband"))
    return Collected(tuple(texts), files, tuple(dict.fromkeys(notes)))


def samples(interfaces: tuple[str, ...], root: Path = Path("/")) -> Collected:
    """The counters alone, as the first one of two samples: what is missing is noted by the second one."""
    unsaid: list[str] = []
    texts = [*_run("nstat", ("nstat", "-asz"), unsaid), *_statistics(interfaces, unsaid)]
    first = tuple(Text(one.kind, one.path, one.text, one.interface, first=True) for one in texts)
    return Collected(first, read_ports(root / "sys/class/infiniband"), ())


def read_ports(devices: Path) -> dict[str, str]:
    """Path to text of every port below *devices*, named as sysfs names it, whatever folder the tree was copied to."""
    found: dict[str, str] = {}
    for port in sorted(devices.glob("*/ports/*")):
        folders = (port, *(port / folder for folder in _FOLDERS))
        for file in (file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())):
            if len(found) < MAX_FILES and (text := _text(file)) is not None:
                found[f"/sys/class/infiniband/{file.relative_to(devices)}"] = text
    return found


def _text(file: Path) -> str | None:
    """An attribute that is not there, or that the device refuses to read, says nothing."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(MAX_FILE)
    except OSError:
        return None


def _read_settings(root: Path, interfaces: tuple[str, ...]) -> dict[str, str]:
    """Of every interface, since those that share a network with a fabric's count too."""
    folder = root / "proc/sys/net/ipv4/conf"
    if not interfaces or not folder.is_dir():
        return {}
    paths = (place / setting for place in sorted(folder.iterdir())[:1024] for setting in _SETTINGS)
    read = ((path, _text(path)) for path in paths)
    return {f"/proc/sys/net/ipv4/conf/{path.relative_to(folder)}": text for path, text in read if text is not None}


def _tables(notes: list[str]) -> Iterator[Text]:
    for kind, command in _COMMANDS:
        yield from _run(kind, command, notes)


def _of_interfaces(interfaces: tuple[str, ...], peers: tuple[str, ...], notes: list[str]) -> Iterator[Text]:
    yield from _statistics(interfaces, notes)
    for peer in peers:
        for interface in interfaces:
            if address(peer) is None or not _NAME.fullmatch(interface):
                notes.append(f"no route to {peer} by {interface} was asked for: an address and a name are needed")
            else:
                yield from _run("route", ("ip", "-j", "route", "get", peer, "oif", interface), notes)


def _statistics(interfaces: tuple[str, ...], notes: list[str]) -> Iterator[Text]:
    here = {name for _, name in socket.if_nameindex()}  # of this namespace, which /sys may not be
    for interface in interfaces:
        if interface not in here or not _NAME.fullmatch(interface):
            notes.append(f"interface {interface} is not here: its statistics are not judged")
        else:
            yield from _run("ethtool", ("ethtool", "-S", interface), notes, interface)


def _devices(folder: Path) -> Iterator[Text]:
    """The device files' modes, as `stat` would print them; none where they are not there, as in most containers."""
    told = ""
    for one in sorted(folder.iterdir())[:1024] if folder.is_dir() else ():
        with suppress(OSError):  # it went while it was looked at
            told += f"{one.stat().st_mode & 0o777:o} {one.name}\n"
    if told:
        yield Text("rdma-devices", "/dev/infiniband", told)


def _tracked(root: Path, notes: list[str]) -> Iterator[Text]:
    """The file needs root and the module; `conntrack -L` would load the module, which is a change."""
    file = root / "proc/net/nf_conntrack"
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            yield Text("conntrack", "/proc/net/nf_conntrack", opened.read(MAX_TEXT))
    except OSError as error:
        notes.append(f"/proc/net/nf_conntrack: {error.strerror or error}: tracked connections are not judged")


def _run(kind: str, command: tuple[str, ...], notes: list[str], interface: str = "") -> list[Text]:
    """What *command* prints, or nothing and a note."""
    path = " ".join(command)
    program = shutil.which(command[0], path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is None:
        notes.append(f"{command[0]} is not installed: `{path}` is not judged")
        return []
    try:
        done = subprocess.run(  # noqa: S603  # fixed words, an address and a checked name, no shell
            [program, *command[1:]],
            capture_output=True,
            check=False,
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            timeout=TOOL_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        notes.append(f"`{path}` is not judged: {_why(error)}")
        return []
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        notes.append(f"`{path}` is not judged: {said[0]}")
        return []
    return [Text(kind, path, done.stdout.decode(errors="replace"), interface)]


def _why(error: Exception) -> str:
    return "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
