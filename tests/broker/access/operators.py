"""Operators who come by the network: with an SVID of the server's own authority, with a token, or with nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests.broker.server.harness import ServerUnderTest
from tests.broker.server.node import Node

_OPTIONS = (("grpc.ssl_target_name_override", "ringfence-server"), ("grpc.use_local_subchannel_pool", 1))


def with_svid(server: ServerUnderTest, spiffe_id: str, ttl: timedelta = timedelta(hours=1)) -> Node:
    """Somebody with an SVID of that name, as the authority signs it."""
    node = Node(server.address, server.bundle_pem)
    authority = server.parts.trust.authority
    chain = authority.issue_x509(SpiffeId.parse(spiffe_id), node.key.public_key(), now=datetime.now(UTC), ttl=ttl)
    node.chain = list(chain)
    return node


def with_nothing(server: ServerUnderTest) -> Node:
    """Somebody who knows the server and has nothing to show."""
    return Node(server.address, server.bundle_pem)


@asynccontextmanager
async def admin(node: Node) -> AsyncIterator[Client]:
    """The admin API at --listen, by what *node* can show."""
    async with grpc.aio.secure_channel(node.address, node._credentials(), options=_OPTIONS) as channel:
        yield Client(channel, service_of(pb, "Server"))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata with a token."""
    return (("authorization", f"Bearer {token}"),)
