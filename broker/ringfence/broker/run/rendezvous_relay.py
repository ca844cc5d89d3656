"""Holds a rank's connections to the store until rank 0 has one.

PyTorch tries again while nobody listens, but ends when a connection is closed before it was answered, as a proxy closes
one whose other end is not there yet. So what a client says is kept until the first byte comes back, and said again.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from ringfence.broker.run.isolate_relay import CHUNK, Dial, reset

_FIRST_PAUSE, _LONGEST_PAUSE, _LONGER = 0.05, 1.0, 1.25  # seconds between two tries; all ranks wait for the last
_MOST = 1 << 20  # bytes that are kept; a client waits for the answer to much less


async def hold(near: socket.socket, dial: Dial) -> None:
    """Relay one connection both ways, to as many ends as it takes until one answers; *near* is closed at the end."""
    with near:
        await _Held(near).relay(dial)


class _Held:
    def __init__(self, near: socket.socket) -> None:
        self._near = near
        self._said = bytearray()  # and not yet answered; afterwards, not yet passed on
        self._over = False
        self._answered = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def relay(self, dial: Dial) -> None:
        listening = asyncio.create_task(self._listen())
        pause = _FIRST_PAUSE
        try:
            while not self._over:
                with suppress(OSError):
                    await self._try(await dial())
                if self._answered:
                    return
                await asyncio.wait([listening], timeout=pause)
                pause = min(_LONGER * pause, _LONGEST_PAUSE)
            reset(self._near)
        finally:
            listening.cancel()

    async def _try(self, far: socket.socket) -> None:
        with far:
            speaking = asyncio.create_task(self._speak(far))
            try:
                await self._hear(far)
                if self._answered:
                    await speaking
            except OSError:
                reset(self._near if self._answered else far)
                raise
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)

    async def _listen(self) -> None:
        """Never cancelled while the connection lives: what it has read would be lost."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await loop.sock_recv(self._near, CHUNK):
                self._said += data
                self._news.set()
                while len(self._said) > _MOST:
                    self._room.clear()
                    await self._room.wait()
        self._over = True
        self._news.set()

    async def _speak(self, far: socket.socket) -> None:
        """Everything from the beginning, as long as nobody has answered it."""
        loop, sent = asyncio.get_running_loop(), 0
        while True:
            if self._answered:
                del self._said[:sent]
                sent = 0
                self._room.set()
            if data := bytes(self._said[sent:]):
                await loop.sock_sendall(far, data)
                sent += len(data)
            elif self._over:
                far.shutdown(socket.SHUT_WR)
                return
            else:
                self._news.clear()
                await self._news.wait()

    async def _hear(self, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(far, CHUNK):
            self._answered = True
            self._news.set()
            await loop.sock_sendall(self._near, data)
        if self._answered:
            self._near.shutdown(socket.SHUT_WR)
