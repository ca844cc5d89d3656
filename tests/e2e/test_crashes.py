"""A full disk and kill -9, for real: whatever was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2
from ringfence.certs.profile import new_csr
from tests import parts
from tests.broker.agent.harness import OWN_UID, agent_process, first_svids
from tests.broker.server.harness import ServerUnderTest, running_server, server_process
from tests.broker.server.node import Node
from tests.e2e.command import INTENT
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Runs in a mount name space of its own, so that nobody else meets the full disk; prints what was acknowledged.
FULL = """
set -e
mount -t tmpfs -o size=900k tmpfs "$DIR"
head -c 300k /dev/zero > "$DIR/ballast"
serve() { "$PYTHON" -m ringfence.broker.cli server run --trust-domain example.org --data-dir "$DIR/d" \
    --listen 127.0.0.1:$PORT 2>> "$LOG" & SERVER=$!; }
ask() { "$PYTHON" -m ringfence.broker.cli "$@" --data-dir "$DIR/d"; }
ready() { for _ in $(seq 200); do ask server healthcheck -o name > /dev/null 2>&1 && return; done; return 1; }
serve; ready
for i in $(seq 30); do
    args=""; for k in $(seq 700); do args="$args --selector unix:path:/$i/$k/$(printf 'x%.0s' $(seq 60))"; done
    if ask entry create --spiffe-id spiffe://example.org/$i $args -o json > out 2> err; then echo "acknowledged $i"
    else echo "refused $? $(cat err)"; break; fi
done
ask server healthcheck -o name
kill -9 $SERVER; wait $SERVER || true
rm "$DIR/ballast"
serve; ready
ask entry list -o json | "$PYTHON" -c 'import json, sys
for entry in json.load(sys.stdin)["items"]: print("kept", entry["spiffeId"].rpartition("/")[2])'
ask entry create --spiffe-id spiffe://example.org/after --selector unix:uid:1 -o name > /dev/null && echo "goes on"
kill $SERVER; wait $SERVER
"""


async def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The call is refused in words, the server lives, and after a kill and some space all is there."""
    unshare = parts.program("unshare", "util-linux")
    command = (unshare, "-Um", "--map-root-user")
    probe = subprocess.run([*command, "true"], capture_output=True, check=False)  # noqa: ASYNC221  # before anything runs
    if probe.returncode:
        parts.missing("a user name space", probe.stderr.decode())
    disk = tmp_path / "disk"
    disk.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(*command, shutil.which("bash") or "bash", "-c", FULL),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            **os.environ,
            "DIR": str(disk),
            "PORT": str(free_port()),
            "PYTHON": sys.executable,
            "LOG": str(tmp_path / "server.log"),
        },
    )
    out = (await process.communicate())[0].decode()
    lines = out.splitlines()
    acknowledged = {line.split()[1] for line in lines if line.startswith("acknowledged")}
    (refused,) = [line for line in lines if line.startswith("refused")]
    assert process.returncode == 0, out
    assert refused.startswith("refused 1 Error: ")
    # The audit log is written first, the database after it: either may be the one that has no room.
    assert "Free some space" in refused
    assert "the disk is full" in refused or "No space left on device" in refused
    assert acknowledged
    assert acknowledged == {line.split()[1] for line in lines if line.startswith("kept")}
    assert lines[-1] == "goes on"
    assert "Traceback" not in (tmp_path / "server.log").read_text()


@asynccontextmanager
async def killed_at(server: ServerUnderTest, moment: int, told: list[bytes] | list[str]) -> AsyncIterator[None]:
    """The block's work is cut off by SIGKILL to the server once *told* has *moment* elements."""
    assert server.process is not None

    async def kill() -> None:
        while len(told) < moment:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
        assert server.process is not None
        server.process.kill()

    killer = asyncio.create_task(kill())
    with contextlib.suppress(grpc.aio.AioRpcError, AssertionError):
        yield
    await asyncio.wait_for(killer, 30)
    await server.process.wait()


@pytest.mark.parametrize("moment", [1, 7, 40])
async def test_a_killed_server_loses_no_registration(tmp_path: Path, moment: int) -> None:
    """Whatever a client was told is there after the restart: entries of four writers, and the last intent."""
    port, http = free_port(), free_port()
    created: list[str] = []
    applied: list[str] = []
    async with server_process(tmp_path, port=port, http_port=http) as server:

        async def create(writer: int) -> None:
            for number in range(10_000):
                entry = await server.create_entry(f"spiffe://example.org/{writer}/{number}", "unix:uid:1")
                created.append(entry.id)

        async def apply() -> None:
            for number in range(10_000):
                answer = await server.apply({"a.yaml": INTENT.replace("NAME", f"w{number}")})
                applied.append(answer.revision)

        async with killed_at(server, moment, created):
            done = await asyncio.gather(*(create(writer) for writer in range(4)), apply(), return_exceptions=True)
            assert all(isinstance(one, grpc.aio.AioRpcError) for one in done)
    async with server_process(tmp_path, port=port, http_port=http) as server:
        found = (await server.admin.ListEntries(pb.ListEntriesRequest())).entries
        assert set(created) <= {entry.id for entry in found}
        names = {int(e.origin.rpartition("/w")[2]) for e in found if e.origin != "api"}
        assert len(names) <= 1
        if applied:
            assert names <= {len(applied) - 1, len(applied)}  # the last one told, or the one that was being told
            assert names
        revisions = [entry.revision for entry in found]
        assert max(revisions) <= (await server.admin.Info(pb.InfoRequest())).revision


async def test_what_a_killed_server_signed_is_on_record(tmp_path: Path) -> None:
    """Every certificate that an agent holds has its serial in the ledger, written before it was signed."""
    port, http = free_port(), free_port()
    chains: list[bytes] = []
    async with server_process(tmp_path, port=port, http_port=http) as server:
        entry = await server.create_entry("spiffe://example.org/one", "unix:uid:1")
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        async with killed_at(server, 20, chains), node.connected() as stream:
            for number in range(10_000):
                csr = new_csr(ec.generate_private_key(ec.SECP256R1()))
                item = agent_pb2.SvidItem(entry_id=entry.id, csr=csr)
                await stream.say(svids=agent_pb2.SvidRequest(id=number + 1, items=[item] * 4))
                answer = await stream.hear("svids")
                chains += [svid.chain[0] for svid in answer.results if svid.chain]
    assert len(chains) >= 20
    with contextlib.closing(sqlite3.connect(server.data_dir / "ringfence.sqlite3")) as database:
        recorded = {int(row[0], 16) for row in database.execute("SELECT serial FROM issuance")}
    assert {x509.load_der_x509_certificate(der).serial_number for der in chains} <= recorded


async def test_a_killed_agent_needs_no_new_token(tmp_path: Path) -> None:
    """Killed as soon as it is up, it is the same agent again, and serves."""
    http = free_port()
    async with running_server(tmp_path) as server:
        await server.create_entry("spiffe://example.org/one", OWN_UID)
        join = ("--join-token", await server.token(), "--bootstrap-bundle", str(server.data_dir / "bundle.pem"))
        async with agent_process(tmp_path, server.address, *join, http_port=http) as agent:
            assert agent.process is not None
            agent.process.kill()
        async with agent_process(tmp_path, server.address, http_port=http) as agent:
            found = await first_svids(agent.socket)
    assert [svid.spiffe_id for svid in found.svids] == ["spiffe://example.org/one"]
