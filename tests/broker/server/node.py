"""The least an agent is: a key, a grpcio channel over TLS, and one stream to the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.certs.profile import new_csr
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests.broker.server.harness import ServerUnderTest

TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
_SERVICE = service_of(pb, "Agent")
_OPTIONS = (("grpc.ssl_target_name_override", "ringfence-server"), ("grpc.use_local_subchannel_pool", 1))


class Node:
    """A key and, once attested, the chain for it."""

    def __init__(self, address: str, roots: bytes) -> None:
        self.address = address
        self.roots = roots
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.chain: list[bytes] = []
        self.spiffe_id = ""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client with what this node can show."""
        async with self.channel() as channel:
            yield Client(channel, _SERVICE)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection of its own, for calls of any service."""
        async with grpc.aio.secure_channel(self.address, self._credentials(), options=_OPTIONS) as channel:
            yield channel

    async def attest(self, token: str) -> pb.AttestResponse:
        """Join, and keep what was given."""
        async with self.client() as client:
            response: pb.AttestResponse = await client.Attest(
                pb.AttestRequest(join_token=token, csr=new_csr(self.key)), timeout=30
            )
        self.chain, self.spiffe_id = list(response.chain), response.spiffe_id
        return response

    @asynccontextmanager
    async def connected(self, **held: Any) -> AsyncIterator[Stream]:
        """The stream, its hello said, with what of it the node holds from before."""
        async with self.client() as client:
            call = client.Connect(timeout=100)  # of all that a test does with it
            await call.write(pb.AgentMessage(hello=pb.Hello(version="test", **held)))
            yield Stream(call)
            call.cancel()

    def _credentials(self) -> grpc.ChannelCredentials:
        if not self.chain:
            return grpc.ssl_channel_credentials(self.roots)
        pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.chain)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return grpc.ssl_channel_credentials(self.roots, key, pem)


class Stream:
    """What an agent says and hears."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, **message: Any) -> None:
        """Send one message: `say(svids=...)`."""
        await self.call.write(pb.AgentMessage(**message))

    async def hear(self, kind: str) -> Any:
        """The next message of that kind; those of other kinds are passed over."""
        while True:
            message = await self.call.read()
            assert message is not grpc.aio.EOF, f"ended before {kind}"  # type: ignore[attr-defined]  # the stubs lack it
            if message.WhichOneof("message") == kind:
                return getattr(message, kind)


async def joined(server: ServerUnderTest) -> Node:
    """An attested node."""
    node = Node(server.address, server.bundle_pem)
    await node.attest(await server.token())
    return node


def csr() -> bytes:
    """A request with a key of its own."""
    return new_csr(ec.generate_private_key(ec.SECP256R1()))


async def refusal(call: object) -> grpc.aio.AioRpcError:
    """The failure that awaiting *call* ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def ended(node: Node) -> grpc.StatusCode:
    """How the stream of *node* ends when it is refused, which needs no word from the node."""
    async with node.client() as client:
        code: grpc.StatusCode = await client.Connect(timeout=30).code()
        return code


async def drain(call: Any) -> None:
    """Read *call* to its end: its status comes only after every message."""
    while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
        pass
