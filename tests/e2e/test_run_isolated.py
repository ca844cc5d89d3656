"""`ringfence run --isolate` with real parts: from inside nothing but the proxy, from outside nothing of the inside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.demo.fraud import ports
from ringfence.broker.run.isolate_paths import listening
from ringfence.broker.run.kernel import descendants_of
from tests import parts
from tests.e2e.test_run import CLIENT, WEB, Mesh, call, meshed, proxy_of, up
from tests.e2e.users import as_user, users

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

ISOLATE = "--isolate"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (proc_net_tcp.txt of the kernel)

# A line in is a list of addresses, a line out which of them answered, and everything that listens in there.
SCAN = """
    import json, os, socket, sys
    def answers(address):
        is_path = isinstance(address, str)
        sock = socket.socket(socket.AF_UNIX if is_path else socket.AF_INET)
        sock.settimeout(5)
        try:
            sock.connect(address if is_path else tuple(address))
            return True
        except OSError:
            return False
    ours = ("RINGFENCE_UPSTREAM_", "RINGFENCE_EGRESS")
    own = [value.removeprefix("http://") for name, value in os.environ.items() if name.startswith(ours)]
    print(json.dumps([sorted(own), os.environ["RINGFENCE_SOCKET_DIR"], os.environ["RINGFENCE_SOCKET"]]), flush=True)
    for line in sys.stdin:
        found = [address for address in json.loads(line) if answers(address)]
        print(json.dumps([found, open("/proc/net/tcp").read()]), flush=True)
"""


@pytest.fixture(params=users(), ids=lambda who: "another-user" if who[1] else "this-user")
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """One machine; its launcher is root, and once more a user without any privilege."""
    parts.user_namespaces()
    uid, is_another = request.param
    async with meshed(uid, as_user(uid) if is_another else ()) as mesh:
        yield mesh


def listeners(table: str) -> list[tuple[str, int]]:
    """Who listens by the text of a /proc/net/tcp."""
    found = set()
    for line in table.splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == _LISTEN:
            host, _, port = local.partition(":")
            address = socket.inet_ntoa(struct.pack("=I", int(host, 16)))
            found.add(("127.0.0.1" if address == "0.0.0.0" else address, int(port, 16)))  # it is read
    return sorted(found)


def read(path: str) -> str:
    """A file of /proc."""
    return Path(path).read_text()


def listening_here(run: int) -> frozenset[int]:
    """The TCP ports of this network namespace that a run, its proxy or its command listens on."""
    return ports.listening([run, *descendants_of(run)])


def found_in(folder: Path) -> list[str]:
    """What somebody outside finds in the folders of a run."""
    return [path.name for name in ("served", "ways") for path in (folder / name).iterdir()]


async def line_of(process: asyncio.subprocess.Process) -> Any:
    """The next line that a workload says."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return json.loads(await process.stdout.readline())


async def test_calls_go_through_the_walls_and_are_judged(mesh: Mesh) -> None:
    """Both sides isolated: one call passes, one does not, and a killed proxy comes back to the same ports."""
    async with mesh.run("shared/web", WEB, ISOLATE) as web, mesh.run("team-a/client", CLIENT, ISOLATE) as client:
        await up(web)
        assert (await call(client, "GET", "/public/a"))[:2] == [200, "hello"]
        assert (await call(client, "POST", "/public/a"))[0] == 403
        os.kill(proxy_of(client), signal.SIGKILL)
        async with asyncio.timeout(30):
            while (await call(client, "GET", "/public/a"))[0] != 200:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.05)


async def test_from_inside_nothing_but_the_proxy_is_there(mesh: Mesh) -> None:
    """Of all that listens on this host, server, agent and other proxies among it, nothing answers."""
    async with mesh.run("shared/web", WEB) as web, mesh.run("team-a/client", SCAN, ISOLATE) as client:
        await up(web)
        own, _, api = await line_of(client)
        # A number that somebody here has taken since it was chosen is inside still the proxy's.
        outside = [at for at in listeners(read("/proc/net/tcp")) if f"{at[0]}:{at[1]}" not in own]
        made = listening(read("/proc/net/unix"))
        sockets = [path.removesuffix("~") for path in made if path != api]  # as ours are renamed
        assert (mesh.server.address.partition(":")[0], int(mesh.server.address.rpartition(":")[2])) in outside
        assert ("127.0.0.1", mesh.port) in outside
        assert f"{mesh.socket}.admin" in sockets
        assert client.stdin is not None
        client.stdin.write(json.dumps([*outside, *sockets, api]).encode() + b"\n")
        answered, tcp = await line_of(client)
        assert answered == [api]
        assert listeners(tcp) == sorted((at.partition(":")[0], int(at.partition(":")[2])) for at in own)
        assert len(own) == 2


async def test_from_outside_nothing_of_the_inside_is_there(mesh: Mesh) -> None:
    """A process of the same user calls as nobody: neither the upstream ports, nor the served one, nor a folder."""
    async with mesh.run("shared/web", WEB, ISOLATE) as web, mesh.run("team-a/client", SCAN, ISOLATE) as client:
        await up(web)
        own, sockets, api = await line_of(client)
        assert len(own) == 2
        assert listening_here(client.pid) == frozenset()
        (inbound,) = listening_here(web.pid)
        assert inbound != mesh.port
        assert found_in(Path(sockets).parent) == []
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(api)


async def test_one_isolated_run_does_not_reach_another(mesh: Mesh) -> None:
    """Not its folders, and not what its processes have open."""
    look = """
        import json, os, sys
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        seen = []
        for pid in pids:
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                try:
                    os.stat(f"/proc/{pid}/root/.")
                    seen.append(pid)
                except OSError:
                    pass
        own = os.path.basename(os.path.dirname(os.environ["RINGFENCE_SOCKET_DIR"]))
        print(json.dumps([seen == [os.getpid()], os.listdir(os.environ["XDG_RUNTIME_DIR"]) == [own]]), flush=True)
    """
    async with mesh.run("shared/web", WEB, ISOLATE) as web, mesh.run("team-a/client", look, ISOLATE) as client:
        await up(web)
        assert await line_of(client) == [True, True]


async def test_the_workload_gets_its_identity_inside(mesh: Mesh) -> None:
    """From the agent, through the relay, as any SPIFFE client does."""
    fetch = """
        import os, subprocess, sys
        command = [sys.executable, "-m", "ringfence.broker.cli", "svid", "fetch", "x509", "-o", "json"]
        sys.exit(subprocess.run(command).returncode)
    """
    async with mesh.run("team-a/client", fetch, ISOLATE) as client:
        out, _ = await client.communicate()
    assert client.returncode == 0
    assert b"spiffe://example.org/ns/team-a/sa/client" in out
    assert b"spiffe://example.org/ns/shared" not in out


async def test_an_undeclared_host_is_denied_by_the_proxy(mesh: Mesh) -> None:
    """The forward proxy is reached through the wall, and its decision is told as ever."""
    ask = """
        import http.client, os
        connection = http.client.HTTPConnection(os.environ["RINGFENCE_EGRESS"].removeprefix("http://"), timeout=10)
        connection.request("GET", "http://undeclared.example/")
        print(connection.getresponse().status, flush=True)
    """
    async with mesh.run("team-a/client", ask, ISOLATE) as client:
        out, _ = await client.communicate()
    assert out.split() == [b"403"]
    egress = await mesh.decision(point="envoy.egress")
    assert (egress["rule"], egress["source"]) == ("default-deny", "spiffe://example.org/ns/team-a/sa/client")


async def test_a_killed_run_leaves_nothing(mesh: Mesh) -> None:
    """Kill -9: proxy and command end, and the next run removes what is left of the folder."""
    async with mesh.run("shared/web", WEB, ISOLATE) as web:
        await up(web)
        below = [int(pid) for pid in read(f"/proc/{web.pid}/task/{web.pid}/children").split()]
        assert len(below) == 2
        web.kill()
        await web.wait()
        async with asyncio.timeout(30):
            while any(os.access(f"/proc/{pid}", os.F_OK) for pid in below):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)
    async with mesh.run("shared/web", "print('ran')", ISOLATE) as again:
        out, _ = await again.communicate()
    assert out == b"ran\n"
    assert list(mesh.runtime.iterdir()) == []
