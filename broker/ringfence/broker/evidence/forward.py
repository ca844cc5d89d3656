"""Hands whatever is received on to an OTLP collector, and never waits for it. Only then is grpc imported."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import grpc.aio

_QUEUE = 1_000
_SECONDS_A_CALL = 5.0


class Forwarder:
    """Sends export requests, as the bytes that came, to *address* (`HOST:PORT`, or `https://HOST:PORT` for TLS).

    Used as `async with`. A collector that is slow or gone costs records, which are counted, and nothing else.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_QUEUE)
        self._worker: asyncio.Task[None] | None = None
        self.sent = 0
        self.dropped = 0

    async def __aenter__(self) -> Self:
        self._channel = _channel(self._address)
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        await self._channel.close(None)

    def hand_on(self, path: str, request: bytes) -> None:
        """Queue one export request of the method *path*; a full queue drops it."""
        try:
            self._queue.put_nowait((path, request))
        except asyncio.QueueFull:
            self.dropped += 1

    async def _work(self) -> None:
        import grpc.aio

        while True:
            path, request = await self._queue.get()
            try:
                await self._channel.unary_unary(path, None, None)(request, timeout=_SECONDS_A_CALL)
            except grpc.aio.AioRpcError:
                self.dropped += 1
            else:
                self.sent += 1


def _channel(address: str) -> grpc.aio.Channel:
    import grpc.aio

    scheme, there, rest = address.partition("://")
    target = rest if there else address
    if scheme == "https" and there:
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
    return grpc.aio.insecure_channel(target)
