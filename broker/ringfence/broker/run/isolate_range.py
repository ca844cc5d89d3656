"""A range of ports through a wall: how relays and the proxy tell each other which number of it a connection is for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from ringfence.broker.run.isolate_relay import Dial, Relay, relay, reset
from ringfence.xds.ranges import TOLD

_BEGIN = b"\r\n\r\n\0\r\nQUIT\n\x21"  # the signature, and version 2 with the command PROXY
_ADDRESSES = {0x11: 12, 0x21: 36, 0x31: 216}  # bytes of both, by family: TCP over IPv4 and IPv6, Unix streams
_PREFIX = 3  # bytes before a value: its type and length
_DIGITS = 5
_LONGEST = 4096  # bytes of a head


def announced(dial: Dial, host: str, number: int) -> Dial:
    """The same, to a proxy that is told first where its client has connected to (PROXY protocol, version 1)."""
    line = f"PROXY TCP4 127.0.0.1 {host} 1 {number}\r\n".encode()

    async def dialled() -> socket.socket:
        far = await dial()
        try:
            await asyncio.get_running_loop().sock_sendall(far, line)
        except BaseException:
            far.close()
            raise
        return far

    return dialled


def asked(numbers: range, dial_to: Callable[[int], Dial]) -> Relay:
    """A relay for connections of a proxy that says first which of *numbers* it means; any other is none."""

    async def carry(near: socket.socket, _: Dial) -> None:
        number = await _number(near)
        if number in numbers:
            await relay(near, dial_to(number))
            return
        with near:
            reset(near)

    return carry


async def _number(near: socket.socket) -> int:
    """Read a head (PROXY protocol, version 2, 2.2), and no byte more; 0 where it is none or says no number."""
    try:
        head = await _exactly(near, len(_BEGIN) + 3)
        family, length = head[-3], int.from_bytes(head[-2:], "big")
        if not head.startswith(_BEGIN) or family not in _ADDRESSES or length > _LONGEST:
            return 0
        rest = await _exactly(near, length)
    except OSError:
        return 0
    said = dict(_told(rest[_ADDRESSES[family] :])).get(TOLD, b"")
    return int(said) if said.isdigit() and len(said) <= _DIGITS else 0


def _told(rest: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each thing that is told behind the addresses (2.2.7)."""
    while len(rest) >= _PREFIX:
        end = _PREFIX + int.from_bytes(rest[1:_PREFIX], "big")
        yield rest[0], rest[_PREFIX:end]
        rest = rest[end:]


async def _exactly(near: socket.socket, count: int) -> bytes:
    """So many bytes; raises OSError when fewer come."""
    loop, read = asyncio.get_running_loop(), b""
    while len(read) < count:
        data = await loop.sock_recv(near, count - len(read))
        if not data:
            raise ConnectionResetError
        read += data
    return read
