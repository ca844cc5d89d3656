"""`ringfence run --fabric` and `--rank` as a process, with an agent, a server and a proxy that do as they are told."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ringfence.proto.status import Code, Status
from ringfence.proxy.v1 import proxy_pb2
from tests import parts
from tests.broker.run.world import TRAINER, World
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PYTHON = sys.executable
FABRIC = ("--fabric", "platform/fab", "--job", "llama")
SHOW = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]))"
STAY = "import signal; print('up', flush=True); signal.pause()"
LISTEN = """
import os, signal, socket
server = socket.create_server((HOST, int(os.environ["MASTER_PORT"])))
print("up", flush=True)
signal.pause()
"""
OWN = "trainer.team-a/c10d"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """With a workload whose ranks may meet, in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        async with World(Path(folder)) as world:
            world.described = proxy_pb2.DescribeResponse(
                spiffe_id=TRAINER,
                served=[proxy_pb2.Served(name="c10d", port=free_port(), protocol="tcp")],
                upstreams=[proxy_pb2.Upstream(key=OWN, env="RINGFENCE_UPSTREAM_TRAINER_C10D", protocol="tcp")],
            )
            yield world


@pytest.fixture
def torchrun(world: World) -> str:
    """A program of that name which says what it was given."""
    program = world.folder / "torchrun"
    program.write_text(f"#!{PYTHON} -S\n{SHOW}\n")
    program.chmod(0o755)
    return str(program)


async def ran(world: World, *command: str, flags: tuple[str, ...], **environment: str) -> Any:
    """What the command of a run printed as JSON."""
    run = await world.run(*command, flags=flags, **environment)
    out, err = await run.communicate()
    assert run.returncode == 0, err.decode()
    return json.loads(out)


async def refused(world: World, *command: str, flags: tuple[str, ...], **environment: str) -> tuple[int, str]:
    """Exit code and words of a run that has no command."""
    run = await world.run(*command, flags=flags, **environment)
    out, err = await run.communicate()
    assert out == b""
    return run.returncode or 0, err.decode()


async def test_the_libraries_of_the_command_are_told_of_the_fabric(world: World) -> None:
    """And what its user's environment would have overridden is gone."""
    secret = world.folder / "secret"
    secret.write_bytes(b"s" * 32)
    inherited = {"NCCL_COMM_ID": "10.0.0.1:1", "NCCL_SOCKET_IFNAME": "eth0", "NCCL_DEBUG": "INFO"}

    flags = (*FABRIC, "--secret-file", str(secret))
    found, _ = await ran(world, PYTHON, "-c", SHOW, flags=flags, **inherited)

    assert found["NCCL_NET"] == "Socket"
    assert found["NCCL_SOCKET_IFNAME"] == "=fab0"
    assert found["GLOO_SOCKET_IFNAME"] == "fab0"
    assert found["NCCL_SOCKET_MAGIC"].startswith("0x")
    assert found["NCCL_DEBUG"] == "INFO"
    assert "NCCL_COMM_ID" not in found
    (request,) = world.fabrics.joins
    assert (request.fabric, request.job, list(request.closed_ports)) == ("platform/fab", "team-a/llama", [])


async def test_ports_that_the_fabric_closes_are_told_of(world: World) -> None:
    """The command starts all the same: what it does with the fabric is its own matter."""
    del world.fabrics.answer.fabric.ports[:]
    world.fabrics.answer.fabric.ports.append("50000")  # which no kernel gives ports from alone
    run = await world.run(PYTHON, "-c", SHOW, flags=FABRIC)
    _, err = await run.communicate()
    assert run.returncode == 0
    assert b"fabric platform/fab lets 50000 through" in err


async def test_without_a_proxy_there_are_fabrics_too(world: World) -> None:
    """What carries collectives has nothing to do with it."""
    found, _ = await ran(world, PYTHON, "-c", SHOW, flags=(*FABRIC, "--proxyless"))
    assert found["GLOO_SOCKET_IFNAME"] == "fab0"
    assert "GRPC_XDS_BOOTSTRAP" in found


async def test_what_may_not_join_does_not_start(world: World) -> None:
    """Exit code 5, and the reason."""
    world.fabrics.refusal = Status(Code.PERMISSION_DENIED, "no grant in force")
    code, err = await refused(world, PYTHON, "-c", SHOW, flags=FABRIC)
    assert code == 5
    assert "job team-a/llama on fabric platform/fab: no grant in force" in err


async def test_a_membership_that_is_taken_away_ends_the_command(world: World) -> None:
    """With all that it left running, and a word of why."""
    run = await world.run(PYTHON, "-c", STAY, flags=FABRIC)
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    world.fabrics.end(Status(Code.PERMISSION_DENIED, "team-a/trainer is revoked"))
    _, err = await run.communicate()
    assert run.returncode == 5
    assert b"the command ends" in err
    assert b"team-a/trainer is revoked" in err


async def test_torchrun_is_told_where_ranks_meet(world: World, torchrun: str) -> None:
    """A rank of a fabric: the port is pinned and closed, and the store is on loopback for each of them."""
    number = world.described.served[0].port
    found, _ = await ran(
        world, torchrun, "--nnodes=2", "x.py", flags=(*FABRIC, "--rank", "0"), PET_RDZV_ENDPOINT="evil:1"
    )
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("127.0.0.1", str(number))
    assert (found["PET_MASTER_ADDR"], found["PET_MASTER_PORT"]) == ("127.0.0.1", str(number))
    assert (found["PET_RDZV_BACKEND"], found["PET_NODE_RANK"]) == ("static", "0")
    assert "PET_RDZV_ENDPOINT" not in found
    assert list(world.fabrics.joins[0].closed_ports) == [number]


async def test_another_rank_reaches_the_store_at_that_very_port(world: World) -> None:
    """A connection is held until there is a proxy and a store behind it: here there is none."""
    number = world.described.served[0].port
    run = await world.run(PYTHON, "-c", STAY, flags=("--rank", "1", "--rendezvous", "c10d"))
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(b"x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read()
    writer.close()
    run.terminate()
    await run.communicate()


async def test_behind_walls_connections_are_held_too(world: World) -> None:
    """A plain relay would close what its proxy closes."""
    parts.user_namespaces()
    code = f"""
import json, socket
line = socket.create_connection(("127.0.0.1", {world.described.served[0].port}), 20)
line.settimeout(0.3)
line.sendall(b"x")
try:
    print(json.dumps(len(line.recv(1))))
except TimeoutError:
    print(json.dumps("held"))
"""
    flags = ("--isolate", "--rank", "1", "--rendezvous", "c10d")
    assert await ran(world, PYTHON, "-c", code, flags=flags) == "held"


async def test_behind_walls_the_store_is_closed(world: World, torchrun: str) -> None:
    """Nobody is on its network, so that nobody has to close the port there."""
    parts.user_namespaces()
    flags = ("--isolate", "--share", torchrun, "--rank", "0")
    found, _ = await ran(world, torchrun, "x.py", flags=flags)
    assert found["PET_NODE_RANK"] == "0"


async def test_a_store_that_nobody_closes_is_not_started(world: World, torchrun: str) -> None:
    """The store of torchrun listens on every address; the reason names ways out."""
    code, err = await refused(world, torchrun, "x.py", flags=("--rank", "0"))
    assert code == 5
    assert "would be open to everybody" in err
    assert "--isolate" in err


async def test_a_store_that_is_said_to_be_closed_is_started(world: World, torchrun: str) -> None:
    """By what cannot be seen from here; whoever says so answers for it, and it is watched no more."""
    flags = ("--rank", "0", "--store-closed")
    found, _ = await ran(world, torchrun, "x.py", flags=flags)
    assert found["PET_NODE_RANK"] == "0"


@pytest.mark.parametrize(("host", "stays"), [("127.0.0.1", True), ("", False)])
async def test_a_store_of_another_program_ends_it_where_it_is_open(world: World, host: str, *, stays: bool) -> None:
    """It is let be on loopback, which only this node reaches."""
    program = LISTEN.replace("HOST", repr(host))
    run = await world.run(PYTHON, "-c", program, flags=("--rank", "0", "--rendezvous", "c10d"))
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    if stays:
        socket.create_connection(("127.0.0.1", world.described.served[0].port), 20).close()
        run.terminate()
    _, err = await run.communicate()
    assert (b"would be open to everybody" in err) is not stays
    assert run.returncode == (143 if stays else 5)


async def test_a_workload_that_is_no_job_has_to_say_which_it_takes_part_in(world: World) -> None:
    """One that is a job is that one."""
    code, err = await refused(world, PYTHON, "-c", SHOW, flags=("--fabric", "fab"))
    assert code == 4
    assert "--fabric takes --job" in err
    assert world.fabrics.joins == []


async def test_what_contradicts_the_meeting_is_refused(world: World, torchrun: str) -> None:
    """Before anything is started."""
    for arguments, environment in ((["--standalone"], {}), ([], {"PET_NNODES": "1:2"})):
        flags = (*FABRIC, "--rank", "0")
        code, err = await refused(world, torchrun, *arguments, "x.py", flags=flags, **environment)
        assert code == 4
        assert "torchrun is told" in err
    assert world.proxies == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--job", "j"), "go with --fabric"),
        (("--bootstrap", "eth0"), "go with --fabric"),
        (("--rendezvous", "c10d"), "--rendezvous takes --rank"),
        (FABRIC, "torchrun on a fabric takes --rank"),
        ((*FABRIC, "--rank", "0", "--isolate"), "--isolate leaves nothing but the proxy"),
        ((*FABRIC, "--rank", "0", "--capture"), "--fabric with --capture takes --netns"),
        (("--rank", "0", "--proxyless"), "ranks meet through their proxies"),
        ((*FABRIC, "--rank", "0", "--store-closed"), "--store-closed is for a rank without --fabric"),
        (("--rank", "0", "--store-closed", "--isolate"), "--store-closed is for a rank without"),
        (("--store-closed",), "--store-closed is for a rank"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(
    world: World, torchrun: str, flags: tuple[str, ...], words: str
) -> None:
    """Each protects; one that would do nothing is an error."""
    code, err = await refused(world, torchrun, "x.py", flags=flags)
    assert code == 2
    assert words in err
