"""Rounds with an entry of our own: what figures about entries share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio

from perf.stand import OWN_UID, TRUST_DOMAIN, Stand
from ringfence.admin.v1 import admin_pb2
from ringfence.proto import workload
from ringfence.proto.client import Client
from ringfence.proto.service import service_of


class Acting(Protocol):
    """Whoever makes entries and watches a stream, of ours or of a peer."""

    async def create(self, name: str) -> str:
        """An entry `/ns/perf/sa/NAME` for processes of our own user; its id."""
        ...

    async def delete(self, entry_id: str) -> None:
        """Delete that entry."""
        ...

    async def opened(self) -> Any:
        """A stream of FetchX509SVID, its first message read."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """The admin API of the server and the Workload API of its agent, each on a connection that is open."""

    admin: Client
    workload: Client

    async def create(self, name: str) -> str:
        """An entry `/ns/perf/sa/NAME` for processes of our own user; its id."""
        entry = admin_pb2.Entry(spiffe_id=f"spiffe://{TRUST_DOMAIN}/ns/perf/sa/{name}", selectors=[OWN_UID])
        answer = await self.admin.CreateEntries(admin_pb2.CreateEntriesRequest(entries=[entry]))
        return str(answer.results[0].entry.id)

    async def delete(self, entry_id: str) -> None:
        """Delete that entry."""
        await self.admin.DeleteEntries(admin_pb2.DeleteEntriesRequest(ids=[entry_id]))

    def fetch(self) -> Any:
        """A stream of FetchX509SVID."""
        return self.workload.FetchX509SVID(workload.X509SVIDRequest(), metadata=(workload.SECURITY_HEADER,))

    async def opened(self) -> Any:
        """Such a stream, its first message read."""
        call = self.fetch()
        await call.read()
        return call


@asynccontextmanager
async def operator(place: Stand) -> AsyncIterator[Operator]:
    """One of *place*."""
    async with (
        grpc.aio.insecure_channel(f"unix:{place.admin}") as admin,
        grpc.aio.insecure_channel(f"unix:{place.socket}") as agent,
    ):
        yield Operator(Client(admin, service_of(admin_pb2, "Server")), Client(agent, workload.DESCRIPTOR))
