"""Hundreds of proxies on TLS connections of their own, and a server that is killed under them."""

from __future__ import annotations

import asyncio
import resource
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.fleet.ads import ADS
from ringfence.proto.lane.framing import DATA, Deframer, frame
from ringfence.proto.lane.headers import literals
from ringfence.xds.codec import message
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER
from tests.broker.fleet.tls import SERVER_NAME, Identities
from tests.ports import free_port
from tests.proto.lane import raw

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("storm")]

MANY = 500  # tests/broker/fleet/test_storm.py has ten times as many, without sockets
AT_ONCE = 200  # connections being made
KIB = 1024
UPSTREAM = {"registry.shared/http": "127.0.0.1:4000"}
REQUEST: Any = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
RESPONSE: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
CALL = literals(
    [(name.encode(), value.encode()) for name, value in raw.request_headers(f"{ADS}DeltaAggregatedResources")]
)
HELLO = raw.PREFACE + raw.settings(initial_window=1 << 20) + raw.window(0, 1 << 28)
HELLO += raw.frame(raw.HEADERS, raw.END_HEADERS, 1, CALL)
HEAD = 9


@lru_cache(maxsize=1)
def extensions() -> bytes:
    """A request whose node has as many as an Envoy names in its first message, some 60 KB: appended, it is merged."""
    kinds = {"category": "envoy.filters.http", "type_urls": ["envoy.extensions.filters.http.thing.v3.ThingOrOther"]}
    many = [{"name": f"envoy.filters.http.one_of_many_things_{number}", **kinds} for number in range(500)]
    return bytes(REQUEST(node={"extensions": many}).SerializeToString())


class Proxy(asyncio.Protocol):
    """One: asks for clusters, listeners and endpoints over Delta, accepts everything, and remembers the versions."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: dict[str, dict[str, str]] = {CLUSTER: {}, LISTENER: {}, ENDPOINT: {}}

    def begin(self) -> Proxy:
        """For another connection."""
        self.answered, self.bytes, self.messages = set[str](), bytearray(), Deframer(1 << 22)
        self.sent: Counter[str] = Counter()  # resources by type
        self.over = asyncio.Event()  # it holds all that there is, or has to come again
        return self

    @property
    def settled(self) -> bool:
        """Whether it was told all that there is."""
        return self.answered == self.held.keys()

    def connection_made(self, transport: Any) -> None:
        """Say who it is and what it holds."""
        self.transport = transport
        metadata = {"ringfence": {"upstream": UPSTREAM}}
        node = {"id": f"team-a/trainer/{self.number}", "metadata": metadata}
        first = REQUEST(type_url=CLUSTER, node=node, initial_resource_versions=self.held[CLUSTER])
        transport.write(HELLO + raw.data(1, frame(first.SerializeToString() + extensions()).data))
        self.ask(type_url=LISTENER, initial_resource_versions=self.held[LISTENER])

    def connection_lost(self, _: Exception | None) -> None:
        """A server that is busy gives up on who is slow."""
        self.over.set()

    def ask(self, **fields: Any) -> None:
        """One request."""
        self.transport.write(raw.data(1, frame(REQUEST(**fields).SerializeToString()).data))

    def data_received(self, data: bytes) -> None:
        """Cut what comes into frames."""
        self.bytes += data
        while len(self.bytes) >= HEAD:
            end = HEAD + int.from_bytes(self.bytes[:3], "big")
            if len(self.bytes) < end:
                return
            if self.bytes[3] == DATA:
                for each in self.messages.feed(bytes(self.bytes[HEAD:end])):
                    self.take(RESPONSE.FromString(each))
            del self.bytes[:end]

    def take(self, read: Any) -> None:
        """Accept a response; endpoints are asked for after clusters."""
        assert not read.removed_resources
        self.sent[read.type_url] += len(read.resources)
        self.held[read.type_url].update((entry.name, entry.version) for entry in read.resources)
        self.ask(type_url=read.type_url, response_nonce=read.nonce)
        if read.type_url == CLUSTER and CLUSTER not in self.answered:
            names, known = list(self.held[CLUSTER]), self.held[ENDPOINT]
            self.ask(type_url=ENDPOINT, resource_names_subscribe=names, initial_resource_versions=known)
        self.answered.add(read.type_url)
        if self.settled:
            self.over.set()


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The control plane, ready; killed at the end, as a machine that loses its power."""
    command = [sys.executable, "-m", "tests.e2e.storm_server", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4 * KIB


async def connect(proxies: list[Proxy], port: int, context: ssl.SSLContext) -> None:
    """All of them, a few hundred handshakes at a time; returns when each holds everything."""
    gate, loop = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()

    async def one(proxy: Proxy) -> None:
        proxy.begin()
        while not proxy.settled:
            with suppress(OSError):  # it comes again, as a real one does
                async with gate:
                    await loop.create_connection(
                        proxy.begin, "127.0.0.1", port, ssl=context, server_hostname=SERVER_NAME
                    )
                await proxy.over.wait()

    async with asyncio.timeout(150), asyncio.TaskGroup() as tasks:
        for proxy in proxies:
            tasks.create_task(one(proxy))


def credentials(folder: Path) -> ssl.SSLContext:
    """What the server presents and trusts, written to *folder*, and what a proxy does."""
    identities = Identities()
    (folder / "server.pem").write_bytes(b"".join(identities.issue("/ringfence/server", dns=[SERVER_NAME])))
    (folder / "client.pem").write_bytes(b"".join(identities.issue("/ns/team-a/sa/trainer")))
    (folder / "roots.pem").write_bytes(identities.roots)
    context = ssl.create_default_context(cafile=str(folder / "roots.pem"))
    context.load_cert_chain(folder / "client.pem")
    context.set_alpn_protocols(["h2"])
    return context


async def round_of(
    proxies: list[Proxy], folder: Path, port: int, context: ssl.SSLContext
) -> tuple[Counter[str], float]:
    """What all were sent by type, each on its last connection, and the server's bytes a stream; it is killed after."""
    with server(folder, port) as process:
        before = resident(process.pid)
        await connect(proxies, port, context)
        cost = (resident(process.pid) - before) / len(proxies)
    for proxy in proxies:
        proxy.transport.abort()
    return sum((proxy.sent for proxy in proxies), Counter()), cost


async def test_hundreds_come_back_after_a_kill_and_are_sent_nothing_that_they_hold(tmp_path: Path) -> None:
    """Endpoints once more, which they name, and nothing else; and each costs the server as little as before."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = credentials(tmp_path)
    proxies, port = [Proxy(number) for number in range(MANY)], free_port()

    first, cost = await round_of(proxies, tmp_path, port, context)
    again, cost_again = await round_of(proxies, tmp_path, port, context)

    assert first[ENDPOINT] == MANY
    assert all(held for proxy in proxies for held in proxy.held.values())
    assert +again == {ENDPOINT: MANY}
    assert max(cost, cost_again) < 300 * KIB, (
        "of that 100 is TLS and the snapshot, the rest buffers of Envoy's first 60"
    )
