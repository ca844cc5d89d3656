"""A copy of an agent's folder on another machine: the same node twice, which an operator sees and ends."""

from __future__ import annotations

from pathlib import Path

import grpc

from ringfence.admin.v1 import admin_pb2 as pb
from tests.broker.agent.harness import status_of
from tests.broker.server.harness import running_server
from tests.broker.server.node import Node


async def test_a_copy_shows_as_a_second_stream_and_goes_with_the_node(tmp_path: Path) -> None:
    """It has the key, so that it is the node: `node list` shows two streams, and evicting ends both."""
    async with running_server(tmp_path) as server:
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        async with node.connected() as one, node.connected() as other:
            await one.hear("entries")
            await other.hear("entries")
            [shown] = (await server.admin.ListNodes(pb.ListNodesRequest())).nodes
            assert (shown.spiffe_id, shown.streams) == (node.spiffe_id, 2)
            await server.admin.EvictNodes(pb.EvictNodesRequest(spiffe_ids=[node.spiffe_id]))
            for stream in (one, other):
                assert (await status_of(stream.call))[0] is grpc.StatusCode.PERMISSION_DENIED
