"""A load client of ADS for benchmarks: many streams over mutual TLS, each on its own connection, that ACK everything.

Run as `python -m perf.ads_load PORT STREAMS FOLDER [RESOURCE]`; prints `ready` once every stream has its first
response. It speaks HTTP/2 through the h2 package, so that it favours neither server.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import uvloop

from ringfence.xds.codec import message
from ringfence.xds.types import EXTENSION_CONFIG

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
NAME = "policy"  # of the one resource that every stream asks for
SERVER_NAME = "ringfence-server"
_AT_ONCE = 50  # connections being made
_PREFIX = 5
_STREAM = 1


def framed(data: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(data).to_bytes(4, "big") + data


@lru_cache(maxsize=64)
def ack(response: bytes, name: str = NAME) -> bytes:
    """The framed request that accepts a framed response."""
    read: Any = message("envoy.service.discovery.v3.DiscoveryResponse").FromString(response[_PREFIX:])
    request = message("envoy.service.discovery.v3.DiscoveryRequest")(
        type_url=read.type_url, version_info=read.version_info, response_nonce=read.nonce, resource_names=[name]
    )
    return framed(request.SerializeToString())


def first(index: int, name: str = NAME) -> bytes:
    """The framed first request of one proxy; of one that asks for a listener's policy, it says where that listens."""
    node: dict[str, Any] = {"id": f"n{index}"}
    if name != NAME:
        node["metadata"] = {"ringfence": {"inbound": {"http": "127.0.0.1:1"}}}
    request = message("envoy.service.discovery.v3.DiscoveryRequest")
    return framed(request(type_url=EXTENSION_CONFIG, resource_names=[name], node=node).SerializeToString())


class Proxy(asyncio.Protocol):
    """One stream on one connection."""

    def __init__(self, index: int, name: str, answered: asyncio.Future[None]) -> None:
        self._index = index
        self._name = name
        self._answered = answered
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream."""
        self._transport = transport
        self._h2.initiate_connection()
        headers = [(":method", "POST"), (":scheme", "https"), (":path", METHOD), (":authority", SERVER_NAME)]
        self._h2.send_headers(_STREAM, [*headers, ("te", "trailers"), ("content-type", "application/grpc")])
        self._h2.send_data(_STREAM, first(self._index, self._name))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """ACK every whole response."""
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, _STREAM)
                self._data += event.data
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                sys.exit(f"stream {self._index} ended: {event}")
        while len(self._data) >= _PREFIX:
            end = _PREFIX + int.from_bytes(self._data[1:_PREFIX], "big")
            if len(self._data) < end:
                break
            self._h2.send_data(_STREAM, ack(self._data[:end], self._name))
            self._data = self._data[end:]
            if not self._answered.done():
                self._answered.set_result(None)
        self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)  # type: ignore[attr-defined]


def context(folder: Path) -> ssl.SSLContext:
    """The client's side of mutual TLS, from files that the benchmark wrote."""
    made = ssl.create_default_context(cafile=str(folder / "roots.pem"))
    made.load_cert_chain(folder / "client.pem")
    made.set_alpn_protocols(["h2"])
    return made


async def load(port: int, streams: int, folder: Path, name: str = NAME) -> None:
    """Connect all streams, say so, and answer until stdin closes."""
    loop, tls, gate = asyncio.get_running_loop(), context(folder), asyncio.Semaphore(_AT_ONCE)

    async def connect(index: int) -> None:
        async with gate:
            answered: asyncio.Future[None] = loop.create_future()
            make = partial(Proxy, index, name, answered)
            await loop.create_connection(make, "127.0.0.1", port, ssl=tls, server_hostname=SERVER_NAME)
            await answered

    async with asyncio.TaskGroup() as tasks:
        for index in range(streams):
            tasks.create_task(connect(index))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def raise_file_limit() -> None:
    """A file a connection, and some more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(load(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]))
