"""A control plane of a few lines for tests of our resources with a real Envoy: ADS, SDS and an OTLP receiver.

The streams are our own state machines; what carries them is grpc.aio, so that a fault here is no fault of the lane.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, TypeVar

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ringfence.xds.dialect import ADS, GRPC, SDS, Dialect
from ringfence.xds.discovery import parse_sotw
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import SECRET

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_SDS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_SPANS = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PATIENCE = 30.0  # seconds until a test gives up

T = TypeVar("T")


def until(found: Callable[[], T | None], what: str = "it", patience: float = _PATIENCE) -> T:
    """Ask again and again until there is an answer; fails with what was waited for."""
    end = time.monotonic() + patience
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        threading.Event().wait(0.01)


class Plane(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Serves what `snapshots` hold by node id, and keeps what proxies report."""

    def __init__(self, agent_socket: str) -> None:
        self.snapshots: dict[str, Snapshot] = {}
        self.secrets: dict[str, Snapshot] = {}
        self.logs: list[dict[str, str]] = []
        self.spans: list[dict[str, str]] = []
        self.streams: list[SotwStream] = []
        self._secret_streams: set[SotwStream] = set()  # those that are open
        self.port = 0
        self._agent_socket = agent_socket
        self._changed: set[asyncio.Event] = set()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(30)

    def close(self) -> None:
        """End the server and its thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def serve(self, node_id: str, snapshot: Snapshot) -> None:
        """Push a new snapshot to the proxy of that id."""
        self._loop.call_soon_threadsafe(self._serve, node_id, snapshot)

    def serve_secrets(self, node_id: str, snapshot: Snapshot) -> None:
        """Push new secrets to the proxy of that id, and wait until it has them."""
        self._loop.call_soon_threadsafe(self._serve_secrets, node_id, snapshot)
        named = snapshot.named(SECRET)

        def has(stream: SotwStream) -> bool:
            wants = stream._types[SECRET]  # each stream asks for one of them
            return wants.holds({name: named[name] for name in wants.names})

        until(lambda: all(map(has, list(self._secret_streams))), "the secrets")

    def log(self, **wanted: str) -> dict[str, str]:
        """The first log record with these attributes (`ringfence.` in front, underscores for dots), waited for."""
        keys = {f"ringfence.{key.replace('__', '.')}": value for key, value in wanted.items()}
        return until(
            lambda: next((log for log in list(self.logs) if keys.items() <= log.items()), None), f"a log with {wanted}"
        )

    @property
    def nacks(self) -> list[str]:
        """What proxies refuse."""
        return [nack.detail for stream in self.streams for nack in stream.nacks.values()]

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, by bytes."""
        method = handler_call_details.method
        streams = {_ADS: (ADS, self.snapshots), _SDS: (SDS, self.secrets)}
        if method in streams:
            dialect, snapshots = streams[method]
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, dialect, snapshots))
        receive = {_LOGS: self._receive_logs, _SPANS: self._receive_spans}.get(method)
        return grpc.unary_unary_rpc_method_handler(receive) if receive else None

    def _serve(self, node_id: str, snapshot: Snapshot) -> None:
        self.snapshots[node_id] = snapshot
        self._ring()

    def _serve_secrets(self, node_id: str, snapshot: Snapshot) -> None:
        self.secrets[node_id] = snapshot
        self._ring()

    def _ring(self) -> None:
        for event in self._changed:
            event.set()

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.add_insecure_port(f"unix:{self._agent_socket}")
        await server.start()
        self._up.set()
        await self._ended.wait()
        await server.stop(0)

    async def _stream(
        self, dialect: Dialect, snapshots: dict[str, Snapshot], requests: AsyncIterator[bytes], _: Any
    ) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        self._changed.add(changed)
        opened: list[SotwStream] = []
        out: asyncio.Queue[bytes | None] = asyncio.Queue()
        known: dict[str, Snapshot] = {}

        async def read() -> None:
            async for data in requests:
                request = parse_sotw(data)
                if request.node is not None:
                    known["node"] = snapshots[request.node.id]
                    known["id"] = request.node.id  # type: ignore[assignment]
                    if not opened:  # Envoy names its node again and again
                        opened.append(SotwStream(GRPC if request.node.is_grpc else dialect))
                        self.streams += opened
                        self._secret_streams.update(opened if dialect is SDS else ())
                for sent in opened[0].receive(request, known["node"]):
                    out.put_nowait(sent.payload)
            out.put_nowait(None)

        async def push() -> None:
            while True:
                await changed.wait()
                changed.clear()
                if known:
                    known["node"] = snapshots[known["id"]]  # type: ignore[index]
                    for sent in opened[0].update(known["node"]):
                        out.put_nowait(sent.payload)

        tasks = [asyncio.ensure_future(read()), asyncio.ensure_future(push())]
        try:
            while (payload := await out.get()) is not None:
                yield payload
        finally:
            self._changed.discard(changed)
            self._secret_streams.difference_update(opened)
            for task in tasks:
                task.cancel()

    async def _receive_logs(self, data: bytes, _: Any) -> bytes:
        for resource in ExportLogsServiceRequest.FromString(data).resource_logs:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for record in resource.scope_logs[0].log_records:
                said = {a.key: a.value.string_value for a in record.attributes}
                self.logs.append({**about, **said, "trace": record.trace_id.hex(), "span": record.span_id.hex()})
        return b""

    async def _receive_spans(self, data: bytes, _: Any) -> bytes:
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            for span in resource.scope_spans[0].spans:
                said = {a.key: a.value.string_value for a in span.attributes}
                self.spans.append({**said, "trace": span.trace_id.hex(), "name": span.name})
        return b""
