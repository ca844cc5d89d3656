"""Each server among those that share its database: who lives, what each shows, and who does what one must do."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ringfence.broker.feed import Feed
from ringfence.broker.log import log
from ringfence.broker.store import authority, endpoints, fabric_claims
from ringfence.broker.store import servers as stored
from ringfence.broker.store.authority import SERVER
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.broker.store.presence import Presence
from ringfence.broker.store.servers import Server
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.generations import Generations
from ringfence.certs.keys.port import KeyManager
from ringfence.fabric.membership import GRACE

SERVER_ID = "server-id"  # in the data directory of a server with a PostgreSQL
_LOOK = 1.0  # seconds after which a wait for others asks who of them still lives


class Servers:
    """On a SQLite there is no other, and nothing here asks the database."""

    def __init__(self, me: Server, store: Store, presence: Presence | None = None) -> None:
        self.me = me
        self.known: Mapping[str, Server] = {me.id: me}
        self._store = store
        self._presence = presence
        self.heard_at = 0.0  # of the event loop: when one of them last said something
        self._shown = 0
        self._gone: frozenset[str] = frozenset()
        self._news = asyncio.Event()

    @classmethod
    async def enter(
        cls,
        location: Location,
        data_dir: Path,
        address: str,
        *,
        store: Store,
        holds: Callable[[Mapping[str, Any]], bool],
        clock: Callable[[], datetime],
    ) -> Servers:
        """Be known as one of them, alive from here on.

        *holds* tells by its state an authority whose keys are ours. Raises CONFLICT when this server runs already.
        """
        now = int(clock().timestamp())
        if location.file is not None:
            return cls(Server(SERVER, socket.gethostname(), address, now), store)
        own = await asyncio.to_thread(_own_id, data_dir / SERVER_ID)
        me = await store.run(_enter, Server(own, socket.gethostname(), address, now), holds)
        presence = Presence(location, me.number)
        await presence.begin()
        servers = cls(me, store, presence)
        await servers.follow()
        return servers

    @property
    def shared(self) -> bool:
        """Whether there can be others."""
        return self._presence is not None

    async def run(self, feed: Feed) -> None:
        """Follow what others commit, until cancelled."""

        async def catch_up(revision: int | None) -> None:
            if revision is None or revision > feed.revision:
                await feed.catch_up()

        if self._presence is not None:
            await self._presence.run(catch_up)

    async def close(self) -> None:
        """Be known to live no longer."""
        if self._presence is not None:
            await self._presence.end()

    async def follow(self, _keys: frozenset[str] | None = None) -> None:
        """Take in who they are now."""
        self.known = await self._store.run(stored.every)
        self.heard_at = asyncio.get_running_loop().time()
        self._news.set()

    async def living(self) -> frozenset[str]:
        """The ids of those that live."""
        if self._presence is None:
            return frozenset(self.known)
        numbers = await self._store.run(stored.living)
        return frozenset(server.id for server in self.known.values() if server.number in numbers)

    async def on_duty(self) -> bool:
        """Whether this one does what only one must do: the living one with the lowest number."""
        if len(self.known) <= 1:
            return True
        living = await self.living()
        return next((server.id for server in self.known.values() if server.id in living), "") == self.me.id

    async def missing(self) -> frozenset[str]:
        """Those that are gone and were so when this was asked before: one that is started anew is given the time."""
        if len(self.known) <= 1:
            return frozenset()
        gone, before = frozenset(self.known) - await self.living(), self._gone
        self._gone = gone
        return gone & before

    async def forget(self, server: str, now: int, *, dry_run: bool = False) -> int:
        """Have *server* gone for good; until when (Unix seconds) its authorities stay in the bundle.

        Raises NOT_FOUND, and CONFLICT for one that lives.
        """
        if server == self.me.id:
            raise _alive(server)
        run = self._store.rehearse if dry_run else self._store.run
        return await run(_forget, server, now)

    async def show(self, sequence: int) -> None:
        """Say that our agents and proxies are being sent the bundle *sequence*; said again later if it fails."""
        if self._presence is None or sequence <= self._shown:
            return
        try:
            await self._store.run(stored.show, self.me.id, sequence)
            self._shown = sequence
        except RingfenceError as error:
            log.warning("others do not know which bundle is shown here", detail=error.detail)

    async def wait_shown(self, sequence: int, within: float) -> bool:
        """Whether every other that lives shows the bundle *sequence* or a newer one, at the latest after *within* s."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not await self.is_shown(sequence):
                    await self._told()
                return True
        return False

    async def is_shown(self, sequence: int) -> bool:
        """Whether every other that lives shows the bundle *sequence* or a newer one."""
        self._news.clear()
        late = {one.id for one in self.known.values() if one.shows < sequence} - {self.me.id}
        return not late or not late & await self.living()

    async def _told(self) -> None:
        try:
            async with asyncio.timeout(_LOOK):
                await self._news.wait()
        except TimeoutError:
            await self.follow()  # of one that dies nobody tells, and at the start nobody is heard yet


def holder_of(keys: KeyManager) -> Callable[[Mapping[str, Any]], bool]:
    """Tells an authority, by the state that was stored of it, whose signing key *keys* holds."""

    def holds(state: Mapping[str, Any]) -> bool:
        return state.get("x509", {}).get("current", {}).get("key_id") in keys.key_ids()

    return holds


def _enter(connection: Connection, server: Server, holds: Callable[[Mapping[str, Any]], bool]) -> Server:
    authority.adopt(connection, server.id, holds)
    return stored.enter(connection, server)


def _forget(connection: Connection, server: str, now: int) -> int:
    # 1. It is there, and it does not live.
    known = stored.every(connection).get(server)
    if known is None:
        raise RingfenceError(Kind.NOT_FOUND, f"there is no server {server}", hint="Run `ringfence server list`")
    if known.number in stored.living(connection):
        raise _alive(server)
    # 2. Nodes of fabrics that were connected to it have a while to come back elsewhere.
    fabric_claims.orphan(connection, server, now + GRACE)
    # 3. What it signed is good until it ends.
    kept = authority.every(connection).get(server)
    if kept is not None and kept.state:
        lines = Generations.shown(kept.state).lines
        now = authority.retire(connection, server, [one.id for line in lines for one in line.every()], now)
    # 4. Where its proxies were served, nobody is sent any more.
    endpoints.remove_of(connection, server)
    stored.forget(connection, server)
    return now


def _alive(server: str) -> RingfenceError:
    return RingfenceError(Kind.CONFLICT, f"the server {server} is alive", hint="Stop it first, for good")


def _own_id(file: Path) -> str:
    """Made once, and kept with the keys, which are this server's and no other's."""
    with suppress(FileExistsError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(f"{uuid.uuid4()}\n")
            out.flush()
            os.fsync(out.fileno())
    return file.read_text().strip()
