"""`ringfence fabric status`: what a node holds, from its agent."""

from __future__ import annotations

from pathlib import Path

from ringfence.broker.agent.no_fabrics import no_fabrics
from ringfence.broker.status import hidden
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Lane
from tests.broker.agent.fabrics.world import JOB, OWN, TRAINER, World, joined, running, told
from tests.broker.cli.operator import Done, ringfence

UNTIL = 1_900_000_000


async def status(folder: Path, *arguments: str) -> Done:
    """Asked of the agent whose socket is in *folder*."""
    return await ringfence("fabric", "status", "--socket", folder / "agent.sock", *arguments)


async def test_each_job_is_a_row_with_its_members(tmp_path: Path) -> None:
    """And the ports that are closed for them, for people."""
    async with running(World(tmp_path)) as world:
        await world.tell(told({OWN: UNTIL}, jobs=(JOB, "team-a/other")))
        async with joined(world, 29500) as call:
            await call.read()
            done = await status(tmp_path)
            first, second = (await status(tmp_path, "-o", "json")).json["items"]
    assert done.code == 0
    assert "TCP ports closed to all but this node: 29500" in done.out
    assert first == {
        "fabric": "team-a/fab",
        "state": "applied",
        "interfaces": ["fab0"],
        "addresses": [OWN],
        "job": JOB,
        "joined": True,
        "members": [OWN],
        "until": "2030-03-17T17:46:40Z",
        "expires": "2096-10-02T07:06:40Z",
        "spiffeIds": [TRAINER],
        "detail": "",
    }
    assert (second["job"], second["joined"], second["members"], second["until"]) == ("team-a/other", False, [], "")


async def test_a_fabric_that_is_not_in_force_is_exit_3(tmp_path: Path) -> None:
    """With the reason on stderr; a fabric without a job is a row too."""
    async with running(World(tmp_path)) as world:
        world.node.error = RingfenceError(Kind.CONFLICT, "has eth0", hint="Give it another one")
        await world.tell(told(jobs=()))
        done = await status(tmp_path)
    assert (done.code, done.err) == (3, "team-a/fab: has eth0. Give it another one\n")
    assert "failed" in done.out


async def test_an_agent_that_keeps_none_says_how_to_have_one(tmp_path: Path) -> None:
    """It runs without --fabric."""
    lane = Lane(no_fabrics(), on_error=hidden)
    await lane.listen_unix(tmp_path / "agent.sock.admin", 0o600)
    done = await status(tmp_path)
    await lane.drain(0.02)
    assert done.code != 0
    assert "keeps no fabrics. Start it with --fabric" in done.err
