"""The agent as workloads meet it: real processes, real server, independent clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import utc_now
from ringfence.broker.agent.dial import Trust
from ringfence.broker.agent.enrol import enrol
from ringfence.broker.agent.prove import TokenProver
from ringfence.proto import workload
from tests import parts
from tests.broker.agent.harness import (
    HEADER,
    OWN_UID,
    agent_process,
    first_svids,
    is_ready,
    running_agent,
    workload_client,
)
from tests.broker.attest.children import FETCHER, child
from tests.broker.server.harness import TRUST_DOMAIN, running_server, server_process
from tests.ports import free_port

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"
pytestmark = pytest.mark.e2e

PY_SPIFFE = """
import json, sys
from spiffe import JwtSource, TrustDomain, WorkloadApiClient, X509Source
socket = "unix://" + sys.argv[1]
with WorkloadApiClient(socket) as client, X509Source(client, timeout_in_seconds=20) as x509:
    svid = x509.get_x509_context().default_svid
    with JwtSource(client, timeout_in_seconds=20) as jwt:
        token = jwt.fetch_svid(audience={"db"})
        bundle = jwt.get_bundle_for_trust_domain(TrustDomain("example.org"))
        checked = client.validate_jwt_svid(token.token, "db")
        print(json.dumps({
            "x509": str(svid.spiffe_id),
            "jwt": str(token.spiffe_id),
            "validated": str(checked.spiffe_id),
            "keys": len(bundle.jwt_authorities),
        }))
"""


async def _run(*command: str, **environment: str) -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, env={**os.environ, **environment}
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_py_spiffe_lives_on_the_socket(tmp_path: Path) -> None:
    """An independent client's X509Source, JwtSource and validate work against the agent, in a process of its own."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        code, out, err = await _run(sys.executable, "-c", PY_SPIFFE, str(agent.socket))
    assert code == 0, err
    found = json.loads(out)
    assert found["keys"] >= 1
    assert {found["x509"], found["jwt"], found["validated"]} == {ID}


async def test_two_users_have_two_identities(tmp_path: Path) -> None:
    """Of two processes on one socket each gets the identity of its own user, and no other."""
    if os.geteuid() != 0:
        parts.missing("a second user", "run the tests as root")
    setpriv = parts.program("setpriv", "util-linux")
    await asyncio.to_thread(_open_to_all, tmp_path)
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=20.0) as agent:
        await server.create_entry(ID, OWN_UID)
        await server.create_entry(OTHER, "unix:uid:54321")
        prefix = (setpriv, "--reuid", "54321", "--regid", "54321", "--clear-groups")
        async with child(FETCHER, str(agent.socket)) as own, child(FETCHER, str(agent.socket), prefix=prefix) as other:
            assert await own.line() == ID
            assert await other.line() == OTHER


def _open_to_all(path: Path) -> None:
    for folder in (path, *path.parents):
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)


async def test_the_end_of_the_process_ends_its_stream(tmp_path: Path) -> None:
    """A stream ends when the process that opened it does, although a child of it still holds the socket."""
    # After the first answer it leaves a child behind, which holds the descriptors until its stdin ends; made by the C
    # library, for Python's fork would wait for grpcio.
    forker = "import ctypes, os\nlibc = ctypes.CDLL(None)\n" + FETCHER.replace(
        "try:", "next(call)\nprint('first', flush=True)\nif not libc.fork(): libc.read(0, b' ', 1)\nlibc._exit(0)\ntry:"
    )
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        async with child(forker, str(agent.socket)) as process:
            assert await process.line() == "first"
            assert agent.agent is not None
            async with asyncio.timeout(30):
                while len(agent.agent.watches or ()):  # noqa: ASYNC110  # nobody sets an event for it
                    await asyncio.sleep(0.01)


async def test_a_killed_agent_comes_back_without_its_server(tmp_path: Path) -> None:
    """Kill -9 of the agent, the server gone: the agent starts again without a token and serves what it had."""
    port, http_port, agent_http = free_port(), free_port(), free_port()
    async with server_process(tmp_path, port=port, http_port=http_port) as server:
        bundle = tmp_path / "bootstrap.pem"
        bundle.write_bytes(server.bundle_pem)
        arguments = ("--bootstrap-bundle", str(bundle), "--join-token", await server.token())
        await server.create_entry(ID, OWN_UID)
        async with agent_process(tmp_path, server.address, *arguments, http_port=agent_http) as agent:
            before = await first_svids(agent.socket)
            await _kept(agent.data_dir)
            assert agent.process is not None
            agent.process.send_signal(signal.SIGKILL)
            await agent.process.wait()
    async with agent_process(tmp_path, server.address, http_port=agent_http) as agent:
        assert await first_svids(agent.socket) == before
        assert await is_ready(agent_http)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in agent.data_dir.iterdir()}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(agent.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o777


async def _kept(data_dir: Path) -> None:
    """Until the SVID is on disk."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(_holds_svids, data_dir / "cache.json"):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)


def _holds_svids(path: Path) -> bool:
    return path.exists() and bool(json.loads(path.read_text())["svids"])


async def test_a_spent_token_is_refused_in_words(tmp_path: Path) -> None:
    """A token that was used already ends the agent with exit code 5 and one line that names the next step."""
    async with running_server(tmp_path) as server:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(server.bundle_pem)
        token = await server.token()
        trust = Trust(TRUST_DOMAIN, await server.bundle())
        await enrol(Address.parse(server.address, flag=""), trust, TokenProver(token), now=utc_now())
        command = (
            *(sys.executable, "-m", "ringfence.broker.cli", "agent", "run", "--server", server.address),
            *("--trust-domain", "example.org", "--data-dir", str(tmp_path / "a"), "--socket", str(tmp_path / "s")),
            *("--bootstrap-bundle", str(bundle), "--join-token", token),
        )
        code, _, err = await _run(*command)
    assert code == 5, err
    assert "Traceback" not in err
    assert "ringfence token generate" in err


async def test_a_strangers_bundle_is_refused_in_words(tmp_path: Path) -> None:
    """An agent that was given another server's bundle does not spend its token on this one."""
    async with running_server(tmp_path / "one") as other:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(other.bundle_pem)
    async with running_server(tmp_path / "two") as server:
        command = (
            *(sys.executable, "-m", "ringfence.broker.cli", "agent", "run", "--server", server.address),
            *("--trust-domain", "example.org", "--data-dir", str(tmp_path / "a"), "--socket", str(tmp_path / "s")),
            *("--bootstrap-bundle", str(bundle), "--join-token", await server.token()),
        )
        code, _, err = await _run(*command)
    assert code == 5, err
    assert "is not the server of example.org" in err


async def test_an_insecure_bootstrap_pins_what_it_sees(tmp_path: Path) -> None:
    """--insecure-bootstrap joins without a bundle, and keeps the one it got."""
    async with (
        running_server(tmp_path) as server,
        running_agent(tmp_path, server, bootstrap_bundle=None, insecure_bootstrap=True) as agent,
    ):
        await server.create_entry(ID, OWN_UID)
        assert len((await first_svids(agent.socket)).svids) == 1


async def test_the_command_line_fetches_and_writes(tmp_path: Path) -> None:
    """`svid fetch` shows and writes; keys and tokens are 0600; SPIFFE_ENDPOINT_SOCKET is honoured."""
    ringfence = (sys.executable, "-m", "ringfence.broker.cli", "svid", "fetch")
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        endpoint = {"SPIFFE_ENDPOINT_SOCKET": f"unix://{agent.socket}"}
        code, out, err = await _run(*ringfence, "x509", "-o", "json", **endpoint)
        assert code == 0, err
        assert json.loads(out)["items"][0]["spiffe_id"] == ID
        folder = tmp_path / "out"
        code, out, err = await _run(*ringfence, "x509", "--socket", str(agent.socket), "--write", str(folder))
        assert code == 0, err
        code, out, err = await _run(*ringfence, "jwt", "--audience", "db", "--write", str(folder), **endpoint)
        assert code == 0, err
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["svid.0.key"] == modes["jwt.0.token"] == 0o600
    openssl = parts.program("openssl", "openssl")
    verify = (openssl, "verify", "-x509_strict", "-CAfile", str(folder / "bundle.0.pem"), str(folder / "svid.0.pem"))
    code, _, err = await _run(*verify)
    assert code == 0, err


async def test_a_denied_fetch_says_so(tmp_path: Path) -> None:
    """`svid fetch` without an entry ends with exit code 5 and the next step."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=0.1) as agent:
        command = (sys.executable, "-m", "ringfence.broker.cli", "svid", "fetch", "x509", "--socket", str(agent.socket))
        code, _, err = await _run(*command)
    assert code == 5, err
    assert "no identity issued" in err


async def test_rotation_reaches_open_streams(tmp_path: Path) -> None:
    """When the server rotates its authority every open stream gets new SVIDs, without a failure."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
            before = (await call.read()).svids[0]
            await server.admin.Rotate(admin_pb2.RotateRequest(authority=True))
            async with asyncio.timeout(20):
                while (after := (await call.read()).svids[0]).x509_svid == before.x509_svid:
                    pass
            assert after.x509_svid_key != before.x509_svid_key
            assert len(after.bundle) > len(before.bundle)
            call.cancel()


async def test_a_second_agent_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two agents on one data folder would undo each other: the second ends with words."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server):
        command = (
            *(sys.executable, "-m", "ringfence.broker.cli", "agent", "run", "--server", server.address),
            *("--trust-domain", "example.org", "--data-dir", str(tmp_path / "agent"), "--socket", str(tmp_path / "s")),
        )
        code, _, err = await _run(*command)
    assert code == 1
    assert "another agent uses this data folder" in err
