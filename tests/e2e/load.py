"""Requests without a pause over some connections, and every answer that was not 200."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PATIENCE = 30.0  # seconds for one answer


@dataclass
class Load:
    """What was answered so far; `statuses` counts 0 for a connection that broke under a request."""

    port: int
    path: str = "/"
    statuses: Counter[int] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)  # bodies of what was answered with 200
    failures: list[str] = field(default_factory=list)  # whole answers of the others
    _stop: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def failed(self) -> int:
        """How many requests were not answered with 200."""
        return self.statuses.total() - self.statuses[200]

    async def more(self, requests: int = 20) -> None:
        """Return when so many more have been answered."""
        wanted = self.statuses.total() + requests
        async with asyncio.timeout(_PATIENCE):
            while self.statuses.total() < wanted:
                self._news.clear()
                await self._news.wait()

    async def ask(self) -> None:
        """One caller: connects again when its proxy closes the connection."""
        while not self._stop:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                while await self._once(reader, writer) and self._goes_on():
                    pass
            finally:
                writer.close()

    def _goes_on(self) -> bool:
        return not self._stop

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can be used again."""
        writer.write(f"GET {self.path} HTTP/1.1\r\nhost: mesh\r\n\r\n".encode())
        try:
            async with asyncio.timeout(_PATIENCE):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next((line for line in head.splitlines() if line.startswith("content-length:")), ":0")
                body = await reader.readexactly(int(length.partition(":")[2]))
        except (OSError, EOFError) as error:
            self._count(0, str(error))
            return False
        status = int(head.split()[1])
        self._count(status, body.decode() if status == 200 else head + body.decode())
        return "connection: close" not in head

    def _count(self, status: int, body: str) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.said[body] += 1
        else:
            self.failures.append(body)
        self._news.set()

    def stop(self) -> None:
        """Let what is under way end, and ask no more."""
        self._stop = True


@asynccontextmanager
async def loaded(port: int, *, path: str = "/", callers: int = 4) -> AsyncIterator[Load]:
    """That many callers of a loopback port, until the end of the block and the answers to what they asked by then."""
    load = Load(port, path)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(load.ask())
        try:
            yield load
        finally:
            load.stop()
