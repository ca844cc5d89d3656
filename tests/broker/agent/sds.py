"""A client of the agent's secret discovery service, for tests."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ringfence.broker.agent.sds import SERVICE
from ringfence.xds.codec import build, message
from ringfence.xds.types import SECRET

_V3 = "envoy.service.discovery.v3."
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


def sds(channel: grpc.aio.Channel, method: str, kind: str = "stream_stream") -> Any:
    """A method that takes a request's fields and gives responses."""
    variant = "Delta" if method == "DeltaSecrets" else ""
    return getattr(channel, kind)(
        f"/{SERVICE}/{method}",
        request_serializer=lambda fields: build(f"{_V3}{variant}DiscoveryRequest", **fields).SerializeToString(),
        response_deserializer=message(f"{_V3}{variant}DiscoveryResponse").FromString,
    )


def secrets_of(response: Any) -> dict[str, Any]:
    """The secrets of a response by name."""
    secrets = [message(SECRET.rpartition("/")[2]).FromString(any_.value) for any_ in response.resources]
    return {secret.name: secret for secret in secrets}


async def end_of(call: Any) -> grpc.StatusCode:
    """How a stream ends, whatever it says before."""
    try:
        while await call.read() is not _EOF:
            pass
    except grpc.aio.AioRpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK
