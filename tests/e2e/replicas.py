"""A port that is served by several replicas with a real Envoy each, and one caller, whose Traffic a test changes."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.xds.locality import NOWHERE, Locality
from tests.e2e.mesh import Envoy, Mesh, model_of, running_mesh, until
from tests.ports import free_port

INTENT = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: client, namespace: a}
spec: {match: [{unix.uid: 1}]}
---
kind: Workload
metadata: {name: web, namespace: a}
spec:
  match: [{unix.uid: 2}]
  serves: [{name: http, socket: web.sock, protocol: http}]
---
kind: Allow
metadata: {name: calls, namespace: a}
spec:
  from: [{workload: client}]
  to: [{workload: web, port: http}]
  owner: test
  reason: test
"""
CLUSTER = "cluster.outbound/web.a/http"


def traffic(**fields: str) -> str:
    """The intent with a Traffic document for the port; each field as YAML."""
    said = "".join(f"  {name}: {value}\n" for name, value in fields.items())
    return f"{INTENT}---\nkind: Traffic\nmetadata: {{name: web, namespace: a}}\nspec:\n  to: {{workload: web}}\n{said}"


@dataclass
class App:
    """A replica's application: answers with its name, as it is told; `asked` counts by path."""

    name: str
    status: int = 200
    pause: float = 0.0  # seconds before each answer
    asked: Counter[str] = field(default_factory=Counter)
    open: asyncio.Event = field(default_factory=asyncio.Event)  # while it is not set, nothing is answered
    healthy: bool = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.decode().split()[1]
                self.asked[path] += 1
                status = await self._answer(path)
                text = f"HTTP/1.1 {status} x\r\ncontent-length: {len(self.name)}\r\n\r\n{self.name}"
                writer.write(text.encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str) -> int:
        if path == "/healthz":
            return 200 if self.healthy else 500
        await self.open.wait()
        await asyncio.sleep(self.pause)
        return self.status


@dataclass
class Replicas:
    """The mesh, the replicas by name, and where their caller finds them."""

    mesh: Mesh
    stack: AsyncExitStack
    apps: dict[str, App] = field(default_factory=dict)
    proxies: dict[str, Envoy] = field(default_factory=dict)
    caller: Envoy = field(init=False)

    @property
    def upstream(self) -> int:
        """The caller's loopback port."""
        return self.caller.upstream["web.a/http"]

    async def call(
        self, where: Locality = NOWHERE, *, knows: int | None = None, state_of_the_world: bool = False
    ) -> None:
        """Start the caller's proxy, and wait until it knows every replica, or so many."""
        self.caller = await self.mesh.envoy(
            "a/client",
            upstream={"web.a/http": free_port()},
            locality=where,
            state_of_the_world=state_of_the_world,
        )
        await self.knows(len(self.proxies) if knows is None else knows)

    async def add(
        self, name: str, where: Locality = NOWHERE, *, workload: str = "web", state_of_the_world: bool = False
    ) -> App:
        """One more replica, with its proxy; its application answers at once."""
        app = self.apps[name] = App(name)
        app.open.set()
        self.proxies[name] = await self.mesh.envoy(
            f"a/{workload}",
            inbound={"http": free_port()},
            node=name,
            locality=where,
            state_of_the_world=state_of_the_world,
        )
        path = str(self.mesh.folder / f"{workload}-{name}" / "web.sock")
        server = await asyncio.start_unix_server(app.serve, path)
        self.stack.callback(server.close)
        return app

    async def apply(self, text: str) -> None:
        """Put an intent in force, and wait until every proxy holds it."""
        model = model_of(text)
        self.mesh.fleet.apply(model)
        async with asyncio.timeout(20):
            assert await self.mesh.fleet.wait_synced(model.revision)

    async def stat(self, name: str) -> int:
        """A figure of the caller's cluster."""
        return (await self.stats()).get(f"{CLUSTER}.{name}", 0)

    async def stats(self) -> dict[str, int]:
        """Every figure of the caller's proxy; none before it is up."""
        try:
            return await self.caller.stats()
        except (OSError, ValueError):
            return {}

    async def until(self, name: str, value: int) -> None:
        """Wait until a figure of the caller's cluster is at least that."""
        async with asyncio.timeout(20):
            while await self.stat(name) < value:  # noqa: ASYNC110  # Envoy tells nobody
                await asyncio.sleep(0.02)

    async def knows(self, replicas: int) -> None:
        """Wait until the caller's proxy has so many endpoints, and listens."""
        async with asyncio.timeout(20):
            while await self.stat("membership_total") != replicas:  # noqa: ASYNC110  # Envoy tells nobody
                await asyncio.sleep(0.02)
        await until(lambda: _listens(self.upstream))


def _listens(port: int) -> bool:
    text = f":{port:04X} 00000000:0000 0A"
    return text in Path("/proc/net/tcp").read_text(encoding="ascii")


@asynccontextmanager
async def replicas(*names: str, text: str = INTENT, **places: Locality) -> AsyncIterator[Replicas]:
    """A mesh with these replicas, *places* saying where some of them run; `call` comes next."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        async with AsyncExitStack() as stack, running_mesh(Path(folder), text) as mesh:
            found = Replicas(mesh, stack)
            for name in names:
                await found.add(name, places.get(name, NOWHERE))
            await until(lambda: len(mesh.fleet) == len(names))
            yield found
