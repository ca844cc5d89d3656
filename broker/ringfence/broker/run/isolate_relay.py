"""Bytes between a socket on one side of a wall and a socket on the other, both ways, until both ends are done."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

Dial = Callable[[], Awaitable[socket.socket]]
Relay = Callable[[socket.socket, Dial], Awaitable[None]]
CHUNK = 1 << 16
_BACKLOG = 1024
_PAUSE = 0.05  # seconds until the next try when no descriptor is left
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: the other side is to see a reset too, not a proper end


class Relays:
    """Every relay of one run; what is accepted on a socket goes to a new one of its dial. Ended by `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []

    def start(self, listening: socket.socket, dial: Dial, carry: Relay | None = None) -> None:
        """Accept on *listening*, which is bound, and is closed with the relay; *carry* is `relay` or another such."""
        listening.setblocking(False)
        listening.listen(_BACKLOG)
        self._listening.append(listening)
        self._keep(_accept(listening, lambda near: (carry or relay)(near, dial), self._keep))

    async def close(self) -> None:
        """End all relays, and every connection with them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._listening:  # a task that had not begun has closed nothing
            listening.close()

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)  # noqa: S101  # a coroutine becomes one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _accept(
    listening: socket.socket, carry: Callable[[socket.socket], Awaitable[None]], keep: Callable[[Awaitable[None]], None]
) -> None:
    loop = asyncio.get_running_loop()
    with listening:
        while True:
            try:
                near, _ = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_PAUSE)  # one that was reset at once, or no descriptor left: neither ends the relay
                continue
            near.setblocking(False)
            keep(carry(near))


async def relay(near: socket.socket, dial: Dial) -> None:
    """One connection, to one other end."""
    with near:
        try:
            far = await dial()
        except OSError:
            reset(near)
            return
        with far:
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(near, far))
                    both.create_task(_copy(far, near))
            except* OSError:
                reset(near)
                reset(far)


async def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until *source* has said its last; then *target* hears so, and may go on speaking itself."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(target, data)
    target.shutdown(socket.SHUT_WR)


def reset(end: socket.socket) -> None:
    """Have the other side see a reset once *end* is closed."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
