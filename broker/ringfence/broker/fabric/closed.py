"""Closes TCP ports of this node to all but itself with nft(8), and says whose a port is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ringfence.broker.fabric.apply_tools import run
from ringfence.fabric.plan_closed import TABLE, closed, ports_in

_LISTENS = "0A"  # TCP_LISTEN


def close_ports(ports: Iterable[int]) -> None:
    """Have *ports* closed and no others, in one transaction; raises as `apply_tools.run`."""
    run(("nft", "-f", "-"), closed(ports))


def closed_ports() -> frozenset[int]:
    """Those that are closed now, by this process or one before it."""
    family, name = TABLE.split()
    tables = [item.get("table", {}) for item in json.loads(run(("nft", "-j", "list", "tables")))["nftables"]]
    if not any((one.get("family"), one.get("name")) == (family, name) for one in tables):
        return frozenset()
    return ports_in(run(("nft", "-j", "list", "table", family, name)))


def listeners(ports: Iterable[int], proc: Path = Path("/proc")) -> dict[int, frozenset[int]]:
    """The users that listen on each of *ports* in this network namespace, where anybody does (proc(5), net/tcp)."""
    asked, found = frozenset(ports), dict[int, set[int]]()
    for port, uid in (one for name in ("tcp", "tcp6") for one in _listening(proc / "net" / name)):
        if port in asked:
            found.setdefault(port, set()).add(uid)
    return {port: frozenset(users) for port, users in found.items()}


def _listening(table: Path) -> Iterator[tuple[int, int]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for fields in map(str.split, lines):
        if fields[3] == _LISTENS:
            yield int(fields[1].rpartition(":")[2], 16), int(fields[7])
