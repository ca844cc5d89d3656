"""What a lane serves: methods by path, the hooks around them, and what all its connections share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor

from ringfence.proto.lane.limits import Limits
from ringfence.proto.service import parser_of, path_of
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.proto.lane.call import Call
    from ringfence.proto.lane.connection import Connection

Handler = Callable[["Call"], Awaitable[None]]
OnConnect = Callable[["Connection"], Awaitable[None] | None]
OnError = Callable[[Exception], Status]
OnUntrusted = Callable[[ssl.SSLCertVerificationError], None]


@dataclass(frozen=True, slots=True)
class Method:
    """One method: its handler, how a request is parsed, and whether the caller must have shown a certificate."""

    handler: Handler
    parse: Callable[[bytes], Any]
    peer_certificate: bool = False


def methods_of(
    service: ServiceDescriptor, handlers: Mapping[str, Handler], *, peer_certificate: bool = False
) -> dict[str, Method]:
    """Methods by path for *handlers* by name (`{"Info": self.info}`); raises KeyError for a name it has not."""
    found = {name: service.methods_by_name[name] for name in handlers}
    return {path_of(m): Method(handlers[name], parser_of(m), peer_certificate) for name, m in found.items()}


def hide_error(error: Exception) -> Status:  # noqa: ARG001 - the caller learns nothing of it
    """INTERNAL, with the text kept from the caller."""
    return Status(Code.INTERNAL, "the server failed to serve this call")


def ignore_untrusted(error: ssl.SSLCertVerificationError) -> None:
    """A peer whose certificate does not verify has been told by TLS, and concerns nobody else."""


@dataclass(slots=True)
class Service:
    """What every connection of a lane shares."""

    methods: Mapping[str, Method]
    limits: Limits = field(default_factory=Limits)
    on_error: OnError = hide_error
    on_connect: OnConnect | None = None
    on_untrusted: OnUntrusted = ignore_untrusted
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last connection is over

    def discard(self, connection: Connection) -> None:
        """*connection* is over, its handlers too."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()
