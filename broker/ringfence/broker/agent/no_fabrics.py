"""The Fabrics service of an agent that keeps none: it says how to have one that does."""

from __future__ import annotations

from ringfence.admin.v1 import admin_pb2
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of


def no_fabrics() -> dict[str, Method]:
    """For the lane, by path."""
    return methods_of(service_of(admin_pb2, "Fabrics"), {"Join": _refuse, "ShowFabrics": _refuse})


async def _refuse(call: Call) -> None:
    await call.receive()
    raise RingfenceError(
        Kind.UNIMPLEMENTED, "the agent of this node keeps no fabrics", hint="Start it with --fabric, as root"
    )
