"""The lane as grpc-go's client sees it: SPIRE's agents, go-spiffe and most of the world speak through it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from ringfence.proto.lane import Method
from tests.parts import program
from tests.proto.lane.conftest import Serve
from tests.proto.lane.handlers import Watched, methods

SOURCE = Path(__file__).parents[2] / "tools" / "grpcgo"


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Go client, built from its pinned modules."""
    binary = tmp_path_factory.mktemp("go") / "client"
    subprocess.run([program("go", "golang-go"), "build", "-o", binary, "."], cwd=SOURCE, check=True, timeout=400)
    return str(binary)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_grpc_go(client: str, serve: Serve, socket_path: str) -> None:
    """Every kind of call, 3 MiB messages, long streams, deadlines, hundreds of cancels at once, and a drain."""
    lane = await serve(methods(Watched=Method(Watched(), bytes)))
    process = await asyncio.create_subprocess_exec(
        client, socket_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"drain\n"
        await lane.drain(0)
        assert await process.stdout.read() == b"done\n"
        assert await process.wait() == 0
