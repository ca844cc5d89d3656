"""The doorkeeper's refusals: how long they last, and what is said all the same."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.fleet.ads import ADS
from ringfence.xds.codec import message
from ringfence.xds.types import LISTENER
from tests.broker.server.harness import running_server
from tests.broker.server.node import TRAINER, Node, joined, refusal
from tests.broker.server.test_revocation import DENIED, issued, revoke

WHO = "{name: trainer, namespace: team-a}"


async def test_a_refused_connection_is_closed_after_a_moment(tmp_path: Path) -> None:
    """A proxy that stayed on it would be refused for good, whatever certificate it has by then."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            workload, serial = await issued(stream, entry.id)
            await revoke(server, serials=[serial])
            host, _, port = server.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context(workload, tmp_path))
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()


async def test_a_proxy_whose_identity_is_revoked_hears_what_to_let_go_of_and_nothing_else(tmp_path: Path) -> None:
    """On a connection that it opens afterwards: by discovery in both variants, and refused by every other method."""
    async with running_server(tmp_path) as server:
        await server.apply({"intent/w.yaml": f"kind: Workload\nmetadata: {WHO}\nspec: {{match: [{{unix.uid: 1}}]}}\n"})
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            workload, _ = await issued(stream, entry.id, server)
        await revoke(server, spiffe_ids=[TRAINER])
        async with discovering(workload, "Delta") as call:
            await call.write({"type_url": LISTENER, "node": {"id": "n"}, "initial_resource_versions": {"in": "1"}})
            assert list((await call.read()).removed_resources) == ["in"]
            assert await call.code() is DENIED
        async with discovering(workload, "Stream") as call:
            await call.write({"type_url": LISTENER, "node": {"id": "n"}, "version_info": "1"})
            assert not (await call.read()).resources
            assert await call.code() is DENIED
        async with workload.client() as client:
            assert (await refusal(client.Challenge(pb.ChallengeRequest(), timeout=30))).code() is DENIED


async def test_whoever_has_a_certificate_that_is_revoked_by_itself_hears_nothing(tmp_path: Path) -> None:
    """It may come back with another one: the stream ends before anything is asked on it."""
    async with running_server(tmp_path) as server:
        await server.apply({"intent/w.yaml": f"kind: Workload\nmetadata: {WHO}\nspec: {{match: [{{unix.uid: 1}}]}}\n"})
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            workload, serial = await issued(stream, entry.id, server)
        await revoke(server, serials=[serial])
        async with discovering(workload, "Delta") as call:
            assert await call.code() is DENIED


class Discovery:
    """A discovery stream; `write` takes the fields of a request."""

    def __init__(self, channel: grpc.aio.Channel, variant: str) -> None:
        prefix = f"envoy.service.discovery.v3.{'Delta' if variant == 'Delta' else ''}Discovery"
        self._request = message(f"{prefix}Request")
        path = f"{ADS}{variant}AggregatedResources"
        read = message(f"{prefix}Response").FromString
        self._call = channel.stream_stream(path, lambda m: m.SerializeToString(), read)()

    async def write(self, fields: dict[str, Any]) -> None:
        """Ask."""
        await self._call.write(self._request(**fields))

    async def read(self) -> Any:
        """The next answer."""
        return await asyncio.wait_for(self._call.read(), 30)

    async def code(self) -> grpc.StatusCode:
        """How it ended."""
        return await asyncio.wait_for(self._call.code(), 30)


@asynccontextmanager
async def discovering(workload: Node, variant: str) -> AsyncIterator[Discovery]:
    """A stream on a connection of its own."""
    async with workload.channel() as channel:
        yield Discovery(channel, variant)


def context(workload: Node, folder: Path) -> ssl.SSLContext:
    """What shows the certificate of *workload*; the server's is not looked at."""
    key = workload.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    leaf = x509.load_der_x509_certificate(workload.chain[0]).public_bytes(Encoding.PEM)
    (folder / "shown.pem").write_bytes(leaf + key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.load_cert_chain(folder / "shown.pem")
    made.set_alpn_protocols(["h2"])
    return made
