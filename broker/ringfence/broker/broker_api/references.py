"""From the reference in a request to the workload that it names; nothing that the broker says of it is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from ringfence.broker.agent.watch import Subject
from ringfence.broker.broker_api.allowed import REFERENCE_TYPES, Broker
from ringfence.broker.broker_api.refusals import invalid_reference
from ringfence.proto import broker as wire
from ringfence.proto.status import Code, Status

_PREFIX = f"type.googleapis.com/{wire.PACKAGE}."
_TYPES = {f"{_PREFIX}{name}": name for name in REFERENCE_TYPES}


class Resolver(Protocol):
    """Knows the workloads that one type of reference names."""

    def held(self, reference: Any, ended: Callable[[Status], None]) -> AbstractAsyncContextManager[Subject]:
        """The workload, for as long as the block lasts; *ended* is called once if it ends meanwhile.

        Raises INVALID_ARGUMENT for a reference that can name nothing, NOT_FOUND for one that names nothing now, both
        with their ErrorInfo; UNAVAILABLE when that can't be told.
        """
        ...


@dataclass(frozen=True, slots=True)
class References:
    """The types that this agent resolves, by name."""

    resolvers: Mapping[str, Resolver]

    def held(
        self, request: Any, broker: Broker, ended: Callable[[Status], None], *, local: bool
    ) -> AbstractAsyncContextManager[Subject]:
        """The workload that *request* of *broker* is about; raises as resolvers do, and PERMISSION_DENIED."""
        packed = request.reference.reference
        # 1. There is a reference, of a type that the standard has and that this agent resolves.
        if not packed.type_url:
            raise invalid_reference("the request names no workload")
        name = _TYPES.get(packed.type_url, "")
        resolver = self.resolvers.get(name)
        if resolver is None:
            raise invalid_reference("this agent knows no such type of reference", type_url=packed.type_url[:256])
        # 2. The broker may use it, here: a pid means something only to who shares our node.
        if not broker.may_use(name, local=local):
            raise Status(Code.PERMISSION_DENIED, f"{broker.id} may not name workloads by {name} here")
        # 3. It can be read.
        try:
            reference = wire.message(name).FromString(packed.value)
        except DecodeError:
            raise invalid_reference("the reference does not parse", type_url=packed.type_url) from None
        return resolver.held(reference, ended)
