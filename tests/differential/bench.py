"""A real Envoy and a real gRPC server under one policy, and every kind of certificate to ask them with."""

from __future__ import annotations

import asyncio
import json
import queue
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from ringfence.broker.run.grpc_bootstrap import Bootstrap
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.differential.cases import CERTIFICATES, DOMAIN, SERVER, Asked
from tests.differential.wire import ClosedError, Wire
from tests.e2e.identities import Domain, secrets
from tests.e2e.library import Told
from tests.e2e.plane import Plane, until
from tests.e2e.proxies import envoy, listening
from tests.e2e.proxyless import install
from tests.policy.intent import NOW
from tests.ports import free_port

ENVOY, GRPC = "envoy", "grpc"
_MOST_AT_ONCE = 50  # of one connection's requests


class Bench:
    """*ports* by name on each side. Only the rules judge: gRPC has no bundle map, which would refuse two names."""

    def __init__(self, folder: Path, stack: ExitStack, ports: Sequence[str], sides: Iterable[str]) -> None:
        self.folder = folder
        self.domain = Domain(str(DOMAIN))
        self.ports: dict[str, dict[str, int]] = {side: {port: free_port() for port in ports} for side in sides}
        self._instances = {
            side: Instance(
                side,
                {name: ("127.0.0.1", number) for name, number in numbers.items()},
                socket_dir=str(folder),
                proxyless=side == GRPC,
            )
            for side, numbers in self.ports.items()
        }
        self._tls = {name: self._context(uris, number) for number, (name, uris) in enumerate(CERTIFICATES.items())}
        self._wires: dict[tuple[str, str, str], Wire] = {}
        self._stack = stack
        self._own = SpiffeId(self.domain.name, f"/ns/{SERVER.replace('/', '/sa/')}")
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        self.app = stack.enter_context(_application())

    def start(self, first: Mapping[str, Snapshot]) -> None:
        """Start each side, with what it is to hold first."""
        self.plane.snapshots |= first
        if ENVOY in self.ports:
            self.plane.secrets[ENVOY] = secrets(self.domain, self._own)
            self._stack.enter_context(envoy(ENVOY, self.plane.port, str(self.folder / "agent.sock"), self.folder))
        if GRPC in self.ports:
            self.library = self.start_library(GRPC, self._own)
            for number in self.ports[GRPC].values():
                assert self.library.do("serve", at=f"127.0.0.1:{number}", drain_ms=500, insecure=True) == "started"

    def wait_listening(self) -> None:
        """Until every port takes connections."""
        for numbers in self.ports.values():
            for number in numbers.values():
                listening(number)

    def compiled(self, side: str, model: Model) -> Snapshot:
        """What that side is to hold."""
        return compile_snapshot(model, model.workloads[SERVER], self._instances[side], {}, now=NOW)

    def push(self, side: str, snapshot: Snapshot) -> None:
        """Have a side hold it, and wait until it says so."""
        self.plane.serve(side, snapshot)
        until(lambda: any(stream.holds(snapshot) for stream in self.plane.streams), f"{side} to take it")

    def ask(self, side: str, port: str, asked: Sequence[Asked]) -> list[bool]:
        """Which of these are let in, each by its own certificate."""
        verdicts: dict[int, bool] = {}
        for certificate in {one.certificate for one in asked}:
            mine = [index for index, one in enumerate(asked) if one.certificate == certificate]
            for start in range(0, len(mine), _MOST_AT_ONCE):
                part = mine[start : start + _MOST_AT_ONCE]
                found = self._ask(side, port, certificate, [asked[index] for index in part])
                verdicts |= dict(zip(part, found, strict=True))
        return [verdicts[index] for index in range(len(asked))]

    def _ask(self, side: str, port: str, certificate: str, asked: Sequence[Asked]) -> list[bool]:
        """By the open connection, else by a new one; a certificate that gets none is let in nowhere."""
        key = (side, port, certificate)
        if (kept := self._wires.pop(key, None)) is not None:
            with suppress(ClosedError):  # it was drained
                return self._ask_on(kept, key, asked)
        try:
            return self._ask_on(self._connect(side, port, certificate), key, asked)
        except (ClosedError, OSError):
            return [False] * len(asked)

    def _ask_on(self, wire: Wire, key: tuple[str, str, str], asked: Sequence[Asked]) -> list[bool]:
        try:
            found = wire.ask(asked)
        except ClosedError:
            wire.close()
            raise
        self._wires[key] = wire
        return found

    def _connect(self, side: str, port: str, certificate: str) -> Wire:
        wire = Wire(self.ports[side][port], self._tls[certificate])
        self._stack.callback(wire.close)
        return wire

    def _context(self, uris: tuple[str, ...], number: int) -> ssl.SSLContext:
        folder = self.folder / f"certificate-{number}"
        folder.mkdir()
        return self.domain.forge(*uris).client(folder, alpn=("h2",))

    def start_library(self, node: str, spiffe_id: SpiffeId) -> Told:
        """A process of that node and identity, which holds what the plane has for the node."""
        folder = self.folder / f"library-{node}"
        folder.mkdir(mode=0o700)
        bundle = self.domain.authority.bundle(1)
        install(folder, self.domain.issue(spiffe_id, dns=["mesh"]), bundle.x509_pem(), b"{}")
        made = json.loads(Bootstrap([f"127.0.0.1:{self.plane.port}"], node, folder).text())
        made["xds_servers"][0]["channel_creds"] = [{"type": "insecure"}]
        (folder / "grpc.json").write_text(json.dumps(made))
        library = Told(folder / "log", GRPC_XDS_BOOTSTRAP=str(folder / "grpc.json"))
        self._stack.callback(library.end)
        return library


@contextmanager
def bench(folder: Path, ports: Sequence[str], sides: Iterable[str] = (ENVOY, GRPC)) -> Iterator[Bench]:
    """A bench; `start` it with the first snapshots."""
    with ExitStack() as stack:
        yield Bench(folder, stack, ports, sides)


@contextmanager
def _application() -> Iterator[int]:
    """An HTTP/1.1 application that answers everything with 200, in a loop of its own; its port."""
    up: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()

    async def main() -> None:
        stop, callers = asyncio.Event(), set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            callers.add(writer)
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await _answer(reader, writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            up.put((server.sockets[0].getsockname()[1], partial(loop.call_soon_threadsafe, stop.set)))
            await stop.wait()
            for writer in callers:
                writer.transport.abort()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: (loop.run_until_complete(main()), loop.close()))
    thread.start()
    port, stop = up.get(timeout=30)
    try:
        yield port
    finally:
        stop()
        thread.join(30)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"transfer-encoding: chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        elif b"content-length:" in head:
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
