"""What the server says about the proxy to build, asked with the workload's own SVID over mutual TLS."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ringfence.broker.run.identity import Identity
from ringfence.broker.run.plan import Launch, Who
from ringfence.broker.run.refusal import refusal
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SERVER_NAME
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from ringfence.proxy.v1 import proxy_pb2

_HASTE = 3.0  # seconds that one server of several is waited for


async def describe(launch: Launch, identity: Identity, who: Who, *, patience: float) -> Any:
    """The DescribeResponse for *who*; waits for a server that is starting, *patience* seconds at most for each.

    Raises TIMEOUT or UNAVAILABLE without a server, DENIED when the intent knows no such workload.
    """
    *others, last = (launch.server, *launch.others)
    for server in others:
        try:
            return await _describe(server, identity, who, patience=min(patience, _HASTE))
        except RingfenceError as error:
            if error.kind not in {Kind.TIMEOUT, Kind.UNAVAILABLE}:
                raise
    return await _describe(last, identity, who, patience=patience)


async def _describe(server: str, identity: Identity, who: Who, *, patience: float) -> Any:
    options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.max_reconnect_backoff_ms", 1000)]
    async with grpc.aio.secure_channel(server, identity.credentials(), options=options) as channel:
        proxy = Client(channel, service_of(proxy_pb2, "Proxy"))
        try:
            described = await proxy.Describe(proxy_pb2.DescribeRequest(), timeout=patience, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            hints = {
                Kind.TIMEOUT: "Is the server running, and is --server its --listen address?",
                Kind.UNAVAILABLE: "Is the server running, and is --server its --listen address?",
                Kind.DENIED: f"Declare Workload {who} in the intent, and apply it",
                Kind.NOT_FOUND: f"Declare Workload {who} in the intent, and apply it",
            }
            raise refusal(error, f"the server does not describe {who}", where=server, hints=hints) from None
    # The server answers for the SVID it saw. Anything else would build a proxy for somebody else.
    if described.spiffe_id != identity.spiffe_id:
        raise RingfenceError(
            Kind.DENIED,
            f"the server described {described.spiffe_id or 'nobody'} instead of {identity.spiffe_id}",
            where=server,
        )
    return described
