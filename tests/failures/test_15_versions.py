"""An older agent at a newer server, and the other way round: what one does not know it passes over."""

from __future__ import annotations

from pathlib import Path

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.link import Link
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from tests.broker.server.harness import running_server
from tests.broker.server.node import Node
from tests.broker.world import START, TD

FUTURE = b"\xfa\x3f\x05later"  # field 1023, which no message of today has


async def test_an_agent_of_an_older_program_is_told_everything(tmp_path: Path) -> None:
    """Its hello says nothing of what was added since: it gets entries, bundle and answers, and ignores the rest."""
    async with running_server(tmp_path) as server:
        await server.create_entry("spiffe://example.org/w", "unix:uid:1")
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        async with node.client() as client:
            call = client.Connect(timeout=30)
            await call.write(pb.AgentMessage(hello=pb.Hello(version="0.0.1")))
            heard = {(await call.read()).WhichOneof("message") for _ in range(2)}
            assert heard == {"bundle", "entries"}
            call.cancel()


async def test_an_agent_of_a_newer_program_says_more_than_the_server_knows(tmp_path: Path) -> None:
    """Fields are passed over, a message gets no answer, and the next question does."""
    async with running_server(tmp_path) as server:
        entry = await server.create_entry("spiffe://example.org/w", "unix:uid:1")
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        async with node.client() as client:
            call = client.Connect(timeout=30)
            hello = pb.Hello.FromString(pb.Hello(version="9.9.9").SerializeToString() + FUTURE)
            await call.write(pb.AgentMessage(hello=hello))
            await call.write(pb.AgentMessage.FromString(FUTURE))
            await call.write(pb.AgentMessage(jwt=pb.JwtRequest(id=7, entry_id=entry.id, audience=["db"])))
            while (message := await call.read()).WhichOneof("message") != "jwt":
                pass
            assert (message.jwt.id, message.jwt.code) == (7, 0)
            call.cancel()


def test_a_newer_server_says_more_than_the_agent_knows() -> None:
    """Fields and messages are passed over; what is known in them counts."""
    cache = Cache(Authority.create(TD, MemoryKeys(), now=START).bundle(1), clock=lambda: START)
    link = Link(Dialler(Address("127.0.0.1", 1), lambda: Trust(TD, None), lambda: None), cache)
    entry = pb.Entry(id="1", spiffe_id="spiffe://example.org/w", selectors=["unix:uid:1"])
    update = pb.EntriesUpdate(revision=4, full=True, upserts=[pb.Entry.FromString(entry.SerializeToString() + FUTURE)])
    link._dispatch(pb.ServerMessage.FromString(FUTURE))
    link._dispatch(pb.ServerMessage.FromString(pb.ServerMessage(entries=update).SerializeToString() + FUTURE))
    assert ([one.id for one in cache.book.every()], cache.book.revision) == (["1"], 4)
