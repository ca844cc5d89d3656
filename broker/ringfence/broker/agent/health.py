"""The question whether the agent of this machine serves, asked over its admin socket."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.agent.config import ADMIN_SUFFIX
from ringfence.broker.run.plan import socket_path
from ringfence.broker.status import error_of
from ringfence.proto.client import Client
from ringfence.proto.service import service_of


async def check(socket: str, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109  # the gRPC deadline
    """How the agent is; raises UNAVAILABLE when none answers. *timeout* in seconds."""
    path = socket_path(socket) + ADMIN_SUFFIX
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        try:
            info = await Client(channel, service_of(admin_pb2, "Launcher")).Info(
                admin_pb2.InfoRequest(), timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            raise error_of(error, where=path) from None
    return {
        "ready": info.ready,
        "detail": info.detail,
        "version": info.version,
        "trustDomain": info.trust_domain,
        "revision": info.revision,
        "entries": info.entries,
    }
