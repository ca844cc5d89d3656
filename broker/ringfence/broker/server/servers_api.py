"""The admin API's part on the servers that share the database: who they are, and that one is gone for good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.feed import Feed
from ringfence.broker.servers import Servers
from ringfence.broker.trust import Trust


@dataclass(frozen=True, slots=True)
class ServersApi:
    """What the service Server says of servers."""

    servers: Servers
    trust: Trust
    feed: Feed
    clock: Callable[[], datetime]

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """Its methods by name."""
        return {"ListServers": self.list, "ForgetServer": self.forget}

    async def list(self, _: pb.ListServersRequest) -> pb.ListServersResponse:
        """All of them, the one that came first before the others."""
        living = await self.servers.living()
        duty = next((one for one in self.servers.known if one in living), "")
        shown = self.trust.bundle.sequence
        rows = [
            pb.ServerEntry(
                id=one.id,
                name=one.name,
                address=one.address,
                living=one.id in living,
                here=one.id == self.servers.me.id,
                on_duty=one.id == duty,
                started_at=one.started_at,
                bundle_sequence=shown if one.id == self.servers.me.id else one.shows,
            )
            for one in self.servers.known.values()
        ]
        return pb.ListServersResponse(servers=rows, bundle_sequence=shown)

    async def forget(self, asked: pb.ForgetServerRequest) -> pb.ForgetServerResponse:
        """Have one gone for good; raises NOT_FOUND, CONFLICT."""
        now = int(self.clock().timestamp())
        until = await self.servers.forget(asked.id, now, dry_run=asked.dry_run)
        if not asked.dry_run:
            await self.feed.catch_up()
        return pb.ForgetServerResponse(id=asked.id, until=until)
