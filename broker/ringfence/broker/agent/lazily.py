"""Methods of the agent's socket whose code is loaded only when somebody calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ringfence.proto.lane import Call, Method

_REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def lazily(methods: Callable[[], Mapping[str, Method]], path: str) -> Method:
    """What does as that one of *methods* does, which are asked for at the first call."""

    async def handle(call: Call) -> None:
        await methods()[path].handler(call)

    def parse(data: bytes) -> Any:
        return methods()[path].parse(data)

    return Method(handle, parse)


def reflection() -> dict[str, Method]:
    """What tells of the Workload API by gRPC, to whoever asks (SPIFFE_Workload_Endpoint.md section 7)."""

    @cache
    def real() -> Mapping[str, Method]:
        from ringfence.proto import workload
        from ringfence.proto.reflection import Reflection

        return Reflection(workload.POOL).methods()

    return {_REFLECTION: lazily(real, _REFLECTION)}
