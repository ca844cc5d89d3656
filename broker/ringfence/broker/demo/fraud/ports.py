"""Which TCP ports processes listen on, and which workloads were given (proc(5): PID/fd, PID/environ, net/tcp)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

LISTENING = "0A"  # TCP_LISTEN, in hex as /proc/net/tcp has it
UPSTREAM, EGRESS = "RINGFENCE_UPSTREAM_", "RINGFENCE_EGRESS"  # variables of docs/run.md


def listening(pids: Iterable[int]) -> frozenset[int]:
    """The ports that any of these processes listens on."""
    sockets = {target for pid in pids for target in _sockets(pid)}
    return frozenset(port for port, inode in _listeners() if f"socket:[{inode}]" in sockets)


def given(pids: Iterable[int], variable: str) -> frozenset[int]:
    """The loopback ports of their own proxies that workloads were given in variables whose names begin so."""
    return frozenset(
        int(value.rpartition(":")[2])
        for pid in pids
        for name, _, value in (word.partition("=") for word in _environment(pid))
        if name.startswith(variable)
    )


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def _sockets(pid: int) -> Iterator[str]:
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            yield str(descriptor.readlink())
    except OSError:
        return


def _listeners() -> Iterator[tuple[int, str]]:
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING:
                yield int(local.rpartition(":")[2], 16), inode
