"""The lane: a gRPC server over HTTP/2 on asyncio that sees who connects and shares equal bytes between streams."""

from ringfence.proto.lane.admission import RefusedBut
from ringfence.proto.lane.call import Call
from ringfence.proto.lane.connection import Connection
from ringfence.proto.lane.framing import Framed, frame
from ringfence.proto.lane.limits import Limits
from ringfence.proto.lane.peer import Peer
from ringfence.proto.lane.server import Lane
from ringfence.proto.lane.service import Handler, Method, methods_of

__all__ = [
    "Call",
    "Connection",
    "Framed",
    "Handler",
    "Lane",
    "Limits",
    "Method",
    "Peer",
    "RefusedBut",
    "frame",
    "methods_of",
]
