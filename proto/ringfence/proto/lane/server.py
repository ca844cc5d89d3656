"""The lane: listening sockets, the connections on them, and how they end together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ringfence.proto.lane import sockets
from ringfence.proto.lane.connection import Connection
from ringfence.proto.lane.handshake import TlsContext
from ringfence.proto.lane.limits import Limits
from ringfence.proto.lane.listener import Listener
from ringfence.proto.lane.service import (
    Method,
    OnConnect,
    OnError,
    OnUntrusted,
    Service,
    hide_error,
    ignore_untrusted,
)
from ringfence.proto.status import Code, Status

_TICK_SECONDS = 1.0
# What a reader gets for taking its last bytes once every call has ended.
_LAST_WRITE_SECONDS = 2.0


class Lane:
    """A gRPC server for the methods in *methods* (by path), on any number of sockets."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        limits: Limits | None = None,
        on_error: OnError = hide_error,
        on_connect: OnConnect | None = None,
        on_untrusted: OnUntrusted = ignore_untrusted,
    ) -> None:
        self._service = Service(methods, limits or Limits(), on_error, on_connect, on_untrusted)
        self._listeners: list[Listener] = []
        self._files: dict[Path, tuple[int, int]] = {}
        self._clock: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> frozenset[Connection]:
        """The connections that are open, or whose handlers still clean up."""
        return frozenset(self._service.connections)

    async def listen_unix(self, path: Path | str, mode: int = 0o600, tls: TlsContext | None = None) -> None:
        """Serve the Unix socket *path*, within TLS if *tls* gives each connection its context.

        Raises OSError, EADDRINUSE while another process listens there.
        """
        path = Path(path)
        sock = await asyncio.to_thread(sockets.bind_unix, path, mode)
        self._files[path] = await asyncio.to_thread(sockets.identity, path)
        self._listen(Listener(sock, self._service, f"unix:{path}", tls))

    async def listen_tcp(self, host: str, port: int, tls: TlsContext | None = None) -> int:
        """Serve *host*:*port*, the port returned; *tls* gives each connection its context. Raises OSError."""
        sock = await asyncio.to_thread(sockets.bind_tcp, host, port)
        bound: int = sock.getsockname()[1]
        self._listen(Listener(sock, self._service, "", tls))
        return bound

    def _listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self._clock is None:
            self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in self.connections:
            connection.tick(now)
        self._clock = loop.call_later(_TICK_SECONDS, self._tick)

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new, let calls end within *grace_seconds*, then end them with UNAVAILABLE; close everything."""
        # 1. No new connections; clients are asked to make no new calls.
        await self._stop_listening()
        self._service.draining = True
        for connection in self.connections:
            connection.drain()
        # 2. What ends by itself ends.
        await self._gone(grace_seconds)
        # 3. The rest ends through no fault of the caller, which therefore tries again elsewhere.
        for connection in self.connections:
            connection.cut(Status(Code.UNAVAILABLE, "the server is shutting down"))
        await self._gone(_LAST_WRITE_SECONDS)
        # 4. A reader that does not take even that loses the connection.
        for connection in self.connections:
            connection.abort()
        await self._gone(_LAST_WRITE_SECONDS)
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    async def close(self) -> None:
        """End everything now."""
        await self.drain(0)

    async def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for path, own in self._files.items():
            await asyncio.to_thread(sockets.unlink_own, path, own)
        self._files.clear()

    async def _gone(self, seconds: float) -> None:
        """Until no connection is left and no handler runs, or *seconds* have passed."""
        self._service.empty.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._service.connections:
                    await self._service.empty.wait()
