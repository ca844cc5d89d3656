"""Workloads without a proxy in a mesh of tests: their files, their bootstrap, and the process that uses them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringfence.broker.run.grpc_bootstrap import BUNDLE_MAP, BY_BUNDLE_MAP, Bootstrap
from ringfence.broker.run.plan import Who
from ringfence.certs.bundle_map import write_map, x509_only
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds.locality import NOWHERE, Locality
from tests.e2e.identities import Identity
from tests.e2e.mesh import Mesh

_PROGRAM = Path(__file__).with_name("library.py")


class Library:
    """One process of a workload; every answer is what `tests/e2e/library.py` says."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self.folder = folder
        self._turn = asyncio.Lock()

    async def do(self, what: str, **more: Any) -> str:
        """Have it done; the answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._turn, asyncio.timeout(90):
            stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            line = await stdout.readline()
        assert line, (self.folder / "log").read_text()[-3000:]
        answer: str = json.loads(line)
        return answer

    async def call(self, target: str, path: str) -> str:
        """The code of a call by a target of the mesh."""
        return (await self.do("call", target=f"xds:///{target}", path=path)).partition(" ")[0]

    async def kill(self) -> None:
        """End it without a word to anybody."""
        self._process.kill()
        await self._process.wait()


def install(folder: Path, identity: Identity, bundle: bytes, bundle_map: bytes) -> None:
    """Put certificate, key and bundle where a bootstrap names them, all at once, as `svid write` does."""
    files = {"svid.pem": identity.chain, "key.pem": identity.key, "bundle.pem": bundle, BUNDLE_MAP: bundle_map}
    for name, data in files.items():
        beside = folder / f".{name}"
        beside.touch(mode=0o600)
        beside.write_bytes(data)
        beside.rename(folder / name)


async def library(
    mesh: Mesh,
    key: str,
    *,
    inbound: Mapping[str, str] | None = None,
    node: str = "1",
    identity: Identity | None = None,
    environment: Mapping[str, str] = BY_BUNDLE_MAP,
    locality: Locality = NOWHERE,
    rank: int | None = None,
    job: str = "",
) -> Library:
    """A process of a workload, or of that rank of its *job*, that knows the mesh, and called and served nothing yet."""
    who = Who(*key.split("/"), rank, job)
    spiffe_id = SpiffeId(mesh.domain.name, who.path)
    folder = mesh.folder / f"{who.name}-{node}-library"
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    bundle = mesh.domain.authority.bundle(1)
    install(folder, identity or mesh.domain.issue(spiffe_id), bundle.x509_pem(), write_map([x509_only(bundle)]))
    server, node_id = f"127.0.0.1:{mesh.port}", f"{key}/{node}"
    made = Bootstrap([server], node_id, folder, str(spiffe_id), inbound or {}, locality=locality)
    await asyncio.to_thread((folder / "grpc.json").write_text, made.text())
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_PROGRAM)),
            env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(folder / "grpc.json"), **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    mesh.stack.push_async_callback(_end, process)
    return Library(process, folder)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
