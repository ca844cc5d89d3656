"""Pushes to many streams in turns, so that the loop reads ACKs and serves others in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ringfence.broker.fleet.stream import Stream
from ringfence.broker.log import log

_SECONDS = 0.005  # of one turn


class Turns:
    """Streams whose snapshot is out of date, in the order in which they are renewed; *taken* is called after a turn."""

    def __init__(self, taken: Callable[[], None] = lambda: None) -> None:
        self._taken = taken
        self._queue: deque[Stream] = deque()
        self._running = False

    def renew(self, stream: Stream) -> None:
        """Have *stream* send what is new, soon; once is enough however often it is said."""
        if not stream.dirty:
            stream.dirty = True
            self._queue.append(stream)
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _SECONDS
        while self._queue and loop.time() < until:
            try:
                self._queue.popleft().pump()
            except Exception as error:  # noqa: BLE001  # one stream's fault must not end the pushes of all others
                log.error("push failed", error=type(error).__name__, exc_info=error)
        self._taken()  # a stream that had nothing to send is in step, and no ACK will say so
        self._running = bool(self._queue)
        if self._running:
            loop.call_soon(self._run)
