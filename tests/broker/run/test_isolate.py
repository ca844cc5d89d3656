"""`ringfence run --isolate` as a process: what its command sees, may and is, and that it still ends as it should."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ringfence.proxy.v1 import proxy_pb2
from tests import parts
from tests.broker.run.test_launcher import PYTHON, WAIT_FOR_TERM, alive, until
from tests.broker.run.world import TRAINER, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ISOLATE = ("--isolate",)
TMP = "/tmp"  # noqa: S108  # it is covered, not written to


def inside(folder: Path) -> list[str]:
    """What somebody outside finds in the folders of a run."""
    return [path.name for name in ("served", "ways") for path in (folder / name).iterdir()]


def read(path: Path) -> str:
    """Through whatever *path* is."""
    return path.read_text()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An agent, a server and a fake Envoy, in a folder with a path short enough for sockets."""
    parts.user_namespaces()
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        async with World(Path(folder)) as world:
            yield world


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder of this user that no cover hides."""
    with tempfile.TemporaryDirectory(prefix="rf-", dir=Path.home()) as folder:
        yield Path(folder)


async def told(world: World, code: str, *flags: str, **environment: str) -> Any:
    """What a Python program behind walls prints, as JSON."""
    run = await world.run(PYTHON, "-c", dedent(code), flags=(*ISOLATE, *flags), **environment)
    out, err = await run.communicate()
    assert run.returncode == 0, err.decode()
    return json.loads(out)


async def test_the_command_has_no_privilege_and_can_gain_none(world: World) -> None:
    """No capability, none to be had, no_new_privs; its user and group are its own, and no other is there."""
    found = await told(
        world,
        """
        import json, os
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        maps = [open(f"/proc/self/{one}_map").read().split() for one in ("uid", "gid")]
        caps = [int(status[f"Cap{one}"], 16) for one in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
        print(json.dumps([caps, status["NoNewPrivs"], [os.getuid(), os.getgid()], maps]))
        """,
    )
    user, group = os.getuid(), os.getgid()
    assert found == [[0] * 5, "1", [user, group], [[str(user)] * 2 + ["1"], [str(group)] * 2 + ["1"]]]


async def test_the_command_cannot_take_the_walls_down(world: World) -> None:
    """Neither directly nor from a user namespace of its own: what covers a folder stays, and so does its network."""
    code = f"""
        import ctypes, json, os
        libc, tried = ctypes.CDLL(None, use_errno=True), []
        def may(call, *a): tried.append(call(*a) == 0)
        there = "/proc/%d/ns/net" % os.getppid()
        may(libc.umount2, {os.fsencode(world.folder.parent)!r}, 2)
        descriptor = os.open(there, 0) if os.access(there, 4) else -1
        may(libc.setns, descriptor, 0)
        if libc.unshare(0x10020000) == 0:
            may(libc.umount2, {os.fsencode(world.folder.parent)!r}, 2)
            may(libc.setns, descriptor, 0)
        print(json.dumps([tried, os.path.exists({str(world.envoy)!r})]))
    """
    assert await told(world, code) == [[False] * 4, False]


async def test_there_is_no_network_but_loopback(world: World) -> None:
    """No listener of this host is reached, by address or by abstract name; `lo` is up."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0ringfence-{os.getpid()}")
        abstract.listen()
        code = f"""
            import json, socket
            def reached(family, address):
                try:
                    socket.socket(family).connect(address)
                    return "reached"
                except OSError as error:
                    return error.strerror
            print(json.dumps([
                [name for _, name in socket.if_nameindex()],
                reached(socket.AF_INET, ("127.0.0.1", {tcp.getsockname()[1]})),
                reached(socket.AF_INET, ("192.0.2.1", 80)),
                reached(socket.AF_UNIX, chr(0) + "ringfence-{os.getpid()}"),
            ]))
        """
        found = await told(world, code)
    assert found == [["lo"], "Connection refused", "Network is unreachable", "Connection refused"]


async def test_no_socket_in_the_file_system_is_reached_but_the_workload_api(world: World, elsewhere: Path) -> None:
    """Neither those in the usual folders, the agent's own for launches first, nor one that lies anywhere else."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as usual:
        other.bind(str(elsewhere / "new"))
        (elsewhere / "new").rename(elsewhere / "other.sock")  # as our own are made
        usual.bind(str(world.folder / "usual.sock"))
        other.listen()
        usual.listen()
        paths = [str(elsewhere / "other.sock"), str(world.folder / "usual.sock"), f"{world.socket}.admin"]
        code = f"""
            import json, os, socket
            def reached(path):
                try:
                    socket.socket(socket.AF_UNIX).connect(path)
                    return True
                except OSError:
                    return False
            print(json.dumps([[reached(path) for path in {paths!r}], reached(os.environ["RINGFENCE_SOCKET"])]))
        """
        found = await told(world, code)
    assert found == [[False] * 3, True]


async def test_the_agents_folder_is_hidden_wherever_it_is(elsewhere: Path) -> None:
    """A socket for launches that an agent makes after the start, when it comes back, is not found either."""
    parts.user_namespaces()
    async with World(elsewhere) as world:
        code = f"""
            import json, os
            print(json.dumps(os.path.exists({str(world.envoy)!r}) or os.path.exists("{world.socket}.admin")))
        """
        assert await told(world, code) is False


async def test_the_workload_api_is_that_of_the_run(world: World) -> None:
    """The relay gives the command the run's SVID, also from an agent that came back."""
    code = """
        import asyncio, os, sys
        from ringfence.broker.run.identity import fetch_identity
        from ringfence.broker.run.plan import Who
        async def main():
            for line in sys.stdin:
                found = await fetch_identity(os.environ["RINGFENCE_SOCKET"], Who("team-a", "trainer"), patience=20)
                print(found.spiffe_id, flush=True)
        asyncio.run(main())
    """
    run = await world.run(PYTHON, "-c", dedent(code), flags=ISOLATE, talk=True)
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.write(b"\n")
    assert (await run.stdout.readline()).decode().strip() == TRAINER
    await world.stop_agent()
    world.launched.clear()
    await world.start_agent()
    async with asyncio.timeout(30):
        await world.launched.wait()
    run.stdin.write(b"\n")
    assert (await run.stdout.readline()).decode().strip() == TRAINER
    run.stdin.close()
    assert await run.wait() == 0


async def test_nobody_outside_finds_its_folders(world: World) -> None:
    """The sockets that it serves and the ends of the relays, the Workload API's among them, are in no one's view."""
    world.described.served.append(proxy_pb2.Served(name="http", port=8080))
    code = """
        import os, signal, socket
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(os.environ["RINGFENCE_SOCKET_DIR"] + "/mine.sock")
        sock.listen()
        print(os.environ["RINGFENCE_SOCKET"], flush=True)
        signal.pause()
    """
    run = await world.run(PYTHON, "-c", dedent(code), flags=ISOLATE)
    assert run.stdout is not None
    api = (await run.stdout.readline()).decode().strip()
    (folder,) = world.runtime.iterdir()
    assert inside(folder) == []
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(api)
    run.send_signal(signal.SIGTERM)
    assert await run.wait() == 128 + signal.SIGTERM
    assert list(world.runtime.iterdir()) == []


async def test_a_link_in_its_socket_folder_leads_nowhere(world: World) -> None:
    """Else the proxy, which is outside, would go where a link of the command points."""
    run = await world.run(
        PYTHON,
        "-c",
        "import os, signal; os.symlink('/etc/passwd', os.environ['RINGFENCE_SOCKET_DIR'] + '/l');"
        "print('up', flush=True); signal.pause()",
        flags=ISOLATE,
    )
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    (folder,) = world.runtime.iterdir()
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        read(Path(f"/proc/{run.pid}/root{folder}/served/l"))
    run.send_signal(signal.SIGTERM)
    await run.wait()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGPIPE)", 128 + signal.SIGPIPE),
    ],
)
async def test_the_exit_code_is_that_of_the_command(world: World, code: str, expected: int) -> None:
    """As without walls. Python ignores SIGPIPE: restored for it here, as a shell's child has it."""
    code = f"import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); {code}"
    run = await world.run(PYTHON, "-c", code, flags=ISOLATE)
    assert await run.wait() == expected


async def test_the_command_inherits_what_it_would_without(world: World) -> None:
    """Ignored signals, the limit of open files, and no descriptor of ours."""
    script = "trap; grep SigIgn /proc/self/status; ulimit -Sn; ls /proc/self/fd | wc -l; pwd"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(900, soft), hard))  # `run` raises its own
    try:
        runs = [await world.run("sh", "-c", script, flags=flags) for flags in ((), ISOLATE)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (plain, _), (isolated, _) = [await run.communicate() for run in runs]
    assert plain == isolated


async def test_a_command_that_is_hidden_is_127_unless_it_is_shared(world: World) -> None:
    """A program below /tmp is not there, and --share shows its folder, the working folder too."""
    folder = world.folder / "shared"
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    hidden, shown = (
        await world.run(str(program), flags=ISOLATE),
        await world.run(str(program), flags=(*ISOLATE, "--share", str(folder))),
    )
    _, err = await hidden.communicate()
    assert hidden.returncode == 127
    assert b"not found: --isolate hides its folder, and --share FOLDER shows it" in err
    assert await shown.wait() == 0
    within = await world.run("sh", "-c", "pwd; ls; ls -d ../fake ../*.sock", flags=ISOLATE, folder=folder)
    assert (await within.communicate())[0].decode().split() == [str(folder), "program"]


@pytest.mark.parametrize("shared", [TMP, "/"])
async def test_what_would_take_a_cover_away_cannot_be_shared(world: World, shared: str) -> None:
    """The folder that everybody's sockets are in, or one above it, is refused before the command starts."""
    run = await world.run("true", flags=(*ISOLATE, "--share", shared))
    _, err = await run.communicate()
    assert run.returncode == 4
    assert b"which --isolate hides" in err


async def test_term_reaches_the_command_and_what_it_leaves_is_ended(world: World) -> None:
    """As without walls: the command decides how it ends, and an orphan in a session of its own is ended."""
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM, flags=ISOLATE)
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    run.send_signal(signal.SIGTERM)
    assert await run.wait() == 5
    assert not alive(world.proxies[0])

    deaf = "trap '' TERM; echo $$; touch $RINGFENCE_SOCKET_DIR/up; while :; do sleep 1; done"
    script = f"setsid sh -c {shlex.quote(deaf)} & until [ -e $RINGFENCE_SOCKET_DIR/up ]; do sleep 0.01; done; exit 3"
    orphan = await world.run("sh", "-c", script, flags=ISOLATE)
    assert orphan.stdout is not None
    pid = int(await orphan.stdout.readline())
    assert await orphan.wait() == 3
    assert not alive(pid)


async def test_the_proxy_and_the_command_die_with_a_killed_launcher(world: World) -> None:
    """The kernel's word survives the walls; the next run removes the folder."""
    run = await world.run(
        PYTHON, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)", flags=ISOLATE
    )
    assert run.stdout is not None
    command = int(await run.stdout.readline())
    run.kill()
    await run.wait()
    await until(lambda: not alive(world.proxies[0]) and not alive(command))
    assert await (await world.run("true", flags=ISOLATE)).wait() == 0
    assert list(world.runtime.iterdir()) == []


async def test_the_proxy_is_out_of_the_commands_hands(world: World) -> None:
    """It is of the same user: but for the walls, the command could trace it and speak with its voice."""
    code = """
        import json, os
        parent = os.getppid()
        others = [parent, *map(int, open(f"/proc/{parent}/task/{parent}/children").read().split())]
        others.remove(os.getpid())
        found = []
        for pid in others:
            for name in ("mem", "environ", "ns/net", "root/etc/passwd", "fd/0"):
                try:
                    open(f"/proc/{pid}/{name}", "rb").close()
                    found.append(name)
                except OSError:
                    pass
        print(json.dumps([len(others), found]))
    """
    assert await told(world, code) == [2, []]


async def test_signals_stay_inside_where_the_kernel_can_keep_them(world: World) -> None:
    """Its own children get them; `run`, its proxy and anybody else of its user do from Linux 6.12 on not."""
    can = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6  # LANDLOCK_CREATE_RULESET_VERSION: scopes came with ABI 6
    code = f"""
        import json, os, subprocess
        child = subprocess.Popen(["sleep", "60"])
        child.kill()
        found = [child.wait()]
        for pid in (os.getppid(), {os.getpid()}):
            try:
                os.kill(pid, 0)
                found.append("reached")
            except PermissionError:
                found.append("kept")
        print(json.dumps(found))
    """
    assert await told(world, code) == [-9, *(["kept" if can else "reached"] * 2)]


async def test_where_the_kernel_forbids_it_the_run_says_so_and_starts_nothing(world: World) -> None:
    """What was asked for is never dropped in silence: an error with the switch to turn."""
    parts.root()
    command = [sys.executable, "-m", "ringfence.broker.cli", "run", "--isolate", "--name", "a", "--namespace", "b"]
    script = f"echo 0 > /proc/sys/user/max_user_namespaces; {shlex.join([*command, '--', 'true'])}"
    done = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "--user", "--map-root-user", "sh", "-c", script],
        env=os.environ | {"RINGFENCE_SOCKET": str(world.socket)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"the kernel refuses to isolate the workload: No space left on device" in done.stderr
    assert b"sysctl user.max_user_namespaces" in done.stderr
    assert world.launches == []


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--isolate", "--proxyless"), b"--proxyless has none"),
        (("--share", "/etc"), b"--share says what is seen with --isolate"),
    ],
)
async def test_flags_that_would_mean_nothing_are_refused(world: World, flags: tuple[str, ...], why: bytes) -> None:
    """A flag that protects is never ignored."""
    run = await world.run("true", flags=flags)
    _, err = await run.communicate()
    assert run.returncode == 2
    assert why in err


async def test_each_number_of_a_range_is_there_inside_and_nowhere_else(world: World) -> None:
    """On the loopback address that its variable names; the proxy has one pipe for all of them."""
    workers = proxy_pb2.Upstream(key="ray.b/workers", env="RINGFENCE_UPSTREAM_RAY_WORKERS", first=10002, last=10005)
    world.described.upstreams.append(workers)
    world.described.served.append(proxy_pb2.Served(name="tasks", port=10012, last=10015))
    named, table = await told(
        world,
        """
        import json, os
        print(json.dumps([os.environ["RINGFENCE_UPSTREAM_RAY_WORKERS"], open("/proc/net/tcp").read()]))
        """,
    )
    host, _, numbers = named.partition(":")
    assert numbers == "10002-10005"
    there = [line.split()[1].split(":") for line in table.splitlines()[1:]]
    address = socket.inet_aton(host)[::-1].hex().upper()  # as the kernel writes it on this machine
    assert sorted(int(port, 16) for at, port in there if at == address) == [10002, 10003, 10004, 10005]
