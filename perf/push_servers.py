"""The two servers that `push_1000` compares, each in a process of its own that measures itself.

Run as `python -m perf.push_servers ours|limit STREAMS FOLDER`, ours with `[SIZE [equal|distinct|listener [PORT]]]`
behind that. Prints its port; for each line on stdin it makes one change and prints, as JSON, the CPU seconds and the
wall seconds from the change to the last ACK; for the line `settle` it gives freed memory back to the system.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import structlog
import uvloop

from perf.acting_proxies import NoLog
from perf.ads_load import METHOD, NAME, raise_file_limit
from ringfence.broker.collector import importing
from ringfence.broker.fleet.ads import ProxyApi
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.memory import give_back
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model
from ringfence.proto.lane import Lane
from ringfence.xds.codec import message
from ringfence.xds.discovery import sotw_payload
from ringfence.xds.snapshot import Resource, Snapshot, content_version
from ringfence.xds.types import EXTENSION_CONFIG, LISTENER

SIZE = 2048  # bytes of the resource, unless said otherwise
INTENT = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}], serves: [{name: http, port: 8080, protocol: http}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: http}], http: [{methods: [%s]}], owner: o, reason: r}
"""


def resource_of(text: str, size: int = SIZE, url: str = EXTENSION_CONFIG) -> Resource:
    """One resource of so many bytes."""
    value = (text.encode() * size)[:size]
    data = message("google.protobuf.Any")(type_url=url, value=value).SerializeToString()
    return Resource(NAME, content_version(data), data)


class Prepared:
    """A compiler whose snapshots are there already: what is measured is the fleet and the lane.

    *kind*: the same bytes for all (`equal`, and `listener` for a resource of that type), or others for each proxy.
    """

    def __init__(self, size: int = SIZE, kind: str = "equal") -> None:
        self._size = size
        self._kind = kind
        self.made: dict[str, Snapshot] = {}

    def __call__(self, model: Model, workload: Any, instance: Any, endpoints: Any, *, now: datetime) -> Snapshot:  # noqa: ARG002  # the compiler's signature
        """The snapshot of a revision; its one resource differs with the model."""
        if self._kind == "distinct":
            return self._snapshot(model.revision, f"{model.revision}{instance.node_id}-")
        if model.revision not in self.made:
            self.made[model.revision] = self._snapshot(model.revision, model.revision)
        return self.made[model.revision]

    def _snapshot(self, revision: str, text: str) -> Snapshot:
        url = LISTENER if self._kind == "listener" else EXTENSION_CONFIG
        return Snapshot({url: {NAME: resource_of(text, self._size, url)}}, revision)


async def ours(streams: int, folder: Path, size: str = str(SIZE), kind: str = "equal", port: str = "0") -> None:
    """Fleet and lane."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(folder / "roots.pem")
    tls.load_cert_chain(folder / "server.pem")
    tls.set_alpn_protocols(["h2"])
    tls.num_tickets = 0  # as the server's own context
    fleet = Fleet(Prepared(int(size), kind), NoLog(), clock=_clock)
    await fleet.restore()
    models = [load_documents([("i.yaml", INTENT % method)]).model for method in ("GET", "PUT")]
    fleet.apply(_there(models[0]))
    lane = Lane(ProxyApi(fleet, _clock).methods())
    number = await lane.listen_tcp("127.0.0.1", int(port), lambda: tls)

    async def change(turn: int) -> None:
        wanted = fleet.counts.acks + streams
        assert fleet.apply(_there(models[turn % 2])) == streams
        await _until(lambda: fleet.counts.acks >= wanted)

    await _serve(number, change, lambda: fleet.counts.acks >= streams)
    await lane.close()


async def limit(streams: int, folder: Path) -> None:
    """Bare grpc.aio: the same bytes, serialised once, and an event."""
    counted = {"acks": 0}
    now: dict[str, Any] = {"payload": _payload(0), "event": asyncio.Event()}

    async def handler(requests: Any, context: Any) -> None:  # noqa: ARG001  # grpc's signature
        await context.read()
        while True:
            event = now["event"]
            await context.write(now["payload"])
            await context.read()
            counted["acks"] += 1
            await event.wait()

    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 100), ("grpc.so_reuseport", 0)])
    method = grpc.stream_stream_rpc_method_handler(handler)
    service, _, name = METHOD[1:].partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    pem = (folder / "server.pem").read_bytes()
    roots = (folder / "roots.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([(pem, pem)], roots, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()

    async def change(turn: int) -> None:
        wanted = counted["acks"] + streams
        now["payload"], event, now["event"] = _payload(turn), now["event"], asyncio.Event()
        event.set()
        await _until(lambda: counted["acks"] >= wanted)

    await _serve(port, change, lambda: counted["acks"] >= streams)
    await server.stop(0)


def _payload(turn: int) -> bytes:
    resource = resource_of(str(turn))
    return sotw_payload(EXTENSION_CONFIG, f"{turn}.1", resource.version, (resource,))


async def _serve(port: int, change: Callable[[int], Awaitable[None]], ready: Callable[[], bool]) -> None:
    print(port, flush=True)
    turn = 0
    while asked := await asyncio.to_thread(sys.stdin.readline):
        await _until(ready)
        if asked == "settle\n":  # what a server does by itself every minute
            give_back()
            print("{}", flush=True)
            continue
        turn += 1
        cpu, wall = time.process_time(), time.perf_counter()
        await change(turn)
        spent: Mapping[str, float] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(spent), flush=True)


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  # an event would be set by one of the two servers at another price
        await asyncio.sleep(0.001)


def _clock() -> datetime:
    return datetime.now(UTC)


def _there(model: Model | None) -> Model:
    assert model is not None
    return model


if __name__ == "__main__":
    raise_file_limit()
    with importing():
        pass  # everything is imported, and the garbage collector is set as a daemon sets it
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run({"ours": ours, "limit": limit}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]))
