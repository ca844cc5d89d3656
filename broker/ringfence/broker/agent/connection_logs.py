"""The OTLP logs that proxies send of connections to the agent's socket, as what `connections` remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_address
from typing import Any

from ringfence.broker.agent.connections import Connections, Told
from ringfence.broker.agent.inet_diag import Address
from ringfence.broker.agent.lazily import lazily
from ringfence.proto.lane import Call, Method
from ringfence.proto.status import Code, Status
from ringfence.xds import decision

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_LONGEST = 2048  # bytes of a SPIFFE ID (SPIFFE-ID.md section 2.3)


def connection_logs(connections: Connections) -> dict[str, Method]:
    """The method by path; what it needs is loaded when the first proxy with a TCP port sends something."""

    @cache
    def real() -> dict[str, Method]:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
            ExportLogsServiceRequest,
            ExportLogsServiceResponse,
        )

        return {LOGS: _export(connections, ExportLogsServiceRequest.FromString, ExportLogsServiceResponse())}

    return {LOGS: lazily(real, LOGS)}


def told_in(request: Any) -> Iterator[Told]:
    """The connections in an ExportLogsServiceRequest; what tells none is passed over."""
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for log in scope.log_records:
                told = _told({each.key: each.value.string_value for each in log.attributes})
                if told is not None:
                    yield told


def _export(connections: Connections, parse: Callable[[bytes], Any], done: Any) -> Method:
    async def export(call: Call) -> None:
        request = await call.receive()
        if request is None or call.connection.peer.uid is None:
            raise Status(Code.INVALID_ARGUMENT, "the request, or who sends it, is missing")
        connections.note(call.connection.peer.uid, told_in(request))
        await call.send(done)

    return Method(export, parse)


def _told(attributes: dict[str, str]) -> Told | None:
    peer = attributes.get(decision.PEER, "")
    local = _address(attributes.get(decision.LOCAL_ADDRESS, ""))
    remote = _address(attributes.get(decision.PEER_ADDRESS, ""))
    if local is None or remote is None or not peer.startswith("spiffe://") or len(peer) > _LONGEST:
        return None
    return Told(local, remote, peer)


def _address(text: str) -> Address | None:
    """`1.2.3.4:5` and `[::1]:5` as Envoy writes them."""
    host, _, port = text.rpartition(":")
    try:
        found = str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        return None
    return found if 0 < found[1] < 1 << 16 else None
