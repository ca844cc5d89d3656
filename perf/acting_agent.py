"""An agent that is only its connection to the server: it attests, opens the stream and asks for SVIDs in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perf.stand import TRUST_DOMAIN, Stand
from ringfence.agent.v1 import agent_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.enrol import enrol, read_bundle
from ringfence.broker.agent.prove import TokenProver
from ringfence.certs.profile import new_csr
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.client import Client
from ringfence.proto.service import service_of


class ActingAgent:
    """One open stream; what the server pushes meanwhile is read and dropped."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._last = 0

    async def entries(self, count: int) -> list[str]:
        """The ids of the first *count* entries that the server tells of, or of some more."""
        found: list[str] = []
        while len(found) < count:
            message = await self._call.read()
            found += [entry.id for entry in message.entries.upserts]
        return found

    async def svids(self, wanted: Sequence[tuple[str, bytes]]) -> int:
        """Ask for SVIDs of (entry id, CSR) in one batch; how many were issued."""
        self._last += 1
        items = [agent_pb2.SvidItem(entry_id=entry_id, csr=csr) for entry_id, csr in wanted]
        await self._call.write(agent_pb2.AgentMessage(svids=agent_pb2.SvidRequest(id=self._last, items=items)))
        while True:
            message = await self._call.read()
            if message.HasField("svids") and message.svids.id == self._last:
                return sum(bool(each.chain) for each in message.svids.results)


@asynccontextmanager
async def acting_agent(place: Stand, token: str = "") -> AsyncIterator[ActingAgent]:
    """One that has attested by *token*, or a fresh one."""
    async with agent_stream(place, token or place.token()) as call:
        yield ActingAgent(call)


@asynccontextmanager
async def agent_stream(place: Stand, token: str, **hello: Any) -> AsyncIterator[Any]:
    """The stream of one that has attested by *token* and said *hello*."""
    domain = TrustDomain(TRUST_DOMAIN)
    trust = Trust(domain, read_bundle(Path(place.folder, "server", "bundle.pem"), domain))
    address = Address.parse(place.listen, flag="--server")
    identity = await enrol(address, trust, TokenProver(token), now=datetime.now(UTC))
    connection = await Dialler(address, lambda: trust, lambda: identity.svid).dial()
    try:
        call = Client(connection.channel, service_of(agent_pb2, "Agent")).Connect()
        await call.write(agent_pb2.AgentMessage(hello=agent_pb2.Hello(version="perf", **hello)))
        yield call
        call.cancel()
    finally:
        await connection.close()


def requests(entry_ids: Sequence[str], key: Any) -> list[tuple[str, bytes]]:
    """A request for each of *entry_ids*, signed by *key* beforehand: the agent's work is not the server's."""
    csr = new_csr(key)
    return [(entry_id, csr) for entry_id in entry_ids]
