"""Whether others than its proxy can reach the store of rank 0: PyTorch's listens on every address (TCPStore)."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

_LISTENS = "0A"  # TCP_LISTEN (proc_pid_net(5), the column `st`)
_PAUSE = 0.5  # seconds between two looks


def listening(pid: int, port: int) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses that somebody listens on under *port* in the network namespace of *pid*; none when it is gone."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, _, state = line.split()[1:4]
            host, _, number = local.partition(":")
            if state == _LISTENS and int(number, 16) == port:
                yield _address(host)


def exposed(pid: int, port: int) -> str:
    """An address beyond loopback that somebody listens on under *port* there; empty for none."""
    return next((str(address) for address in listening(pid, port) if not address.is_loopback), "")


async def watch(pid: int, port: int) -> None:
    """Return never; raises DENIED once somebody listens on *port* beyond loopback."""
    while True:
        if found := await asyncio.to_thread(exposed, pid, port):
            raise open_store(port, f"it listens on {found}")
        await asyncio.sleep(_PAUSE)


def open_store(port: int, why: str = "PyTorch's store listens on every address") -> RingfenceError:
    """That nothing keeps others from the store."""
    return RingfenceError(
        Kind.DENIED,
        f"rank 0's store on port {port} would be open to everybody on this node's networks: {why}",
        hint="Join a --fabric, whose agent closes the port, or have a network of its own: --isolate, --capture",
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """From hexadecimal words of 32 bits in the machine's own order."""
    data = bytes.fromhex(text)
    words = (int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4))
    found = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return (getattr(found, "ipv4_mapped", None)) or found
