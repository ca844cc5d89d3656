"""The keeper of a node's fabrics: what it holds of the server's word, what it says of it, and what a restart keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.storage import KeptFabrics
from ringfence.broker.status import code_of
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.fabrics.world import FABRIC, JOB, NEVER, NOW, OWN, PEER, World, joined, running, told

MEMBERS = {OWN: NEVER, PEER: NEVER}
CONFLICT = int(code_of(Kind.CONFLICT))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Nothing said yet, and nobody there."""
    async with running(World(tmp_path)) as made:
        yield made


async def kept(world: World) -> KeptFabrics:
    """What is on the disk."""
    return await asyncio.to_thread(world.folder.load_fabrics)


async def test_every_fabric_is_held_though_nobody_takes_part(world: World) -> None:
    """Closed, that is: a job's members are those of nodes that are in it, and this one is not."""
    await world.tell(told(MEMBERS, jobs=(JOB, "team-a/other")))
    assert world.node.held == {FABRIC: {JOB: {}, "team-a/other": {}}}
    assert world.wire.applied == [(1, 0)]


async def test_what_is_no_more_is_removed(world: World) -> None:
    """And only that."""
    await world.tell(told(fabrics=("fab", "old")))
    await world.tell(told(revision=2))
    assert set(world.node.held) == {FABRIC}
    assert [line for line in world.node.story if line.startswith("remove")] == ["remove team-a/old"]
    assert (await kept(world)).keys == {FABRIC}


async def test_a_fabric_that_was_never_the_servers_is_nobodys_to_remove(tmp_path: Path) -> None:
    """An operator may have applied one by hand."""
    world = World(tmp_path)
    world.node.held["team-a/by-hand"] = {}
    async with running(world):
        await world.tell(told())
        assert set(world.node.held) == {FABRIC, "team-a/by-hand"}


async def test_what_fails_is_said_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and once more when it is in force."""
    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._RETRY", 0.01)
    world.node.error = RingfenceError(Kind.CONFLICT, "has eth0")
    await world.tell(told())
    looks = world.node.looks
    await world.until(lambda: world.node.looks > looks + 2)
    assert world.wire.applied == [(1, CONFLICT)]
    world.node.error = None
    await world.until(lambda: world.wire.applied == [(1, CONFLICT), (1, 0)])


async def test_a_fabric_that_cannot_be_keeps_no_other_from_being_held(world: World) -> None:
    """Nobody is a member of it, and what the node has of it is not removed."""
    await world.tell(told(MEMBERS, fabrics=("fab", "other")))
    async with joined(world) as call:
        await call.read()
        update = told(MEMBERS, fabrics=("fab", "other"), revision=2)
        update.fabrics[0].fabric.kind = "nonsense"
        await world.tell(update)
        assert world.node.held == {FABRIC: {}, "team-a/other": {JOB: {}}}
        assert not [line for line in world.node.story if line.startswith("remove")]
        assert world.wire.applied[-1] == (2, int(code_of(Kind.INVALID)))


@pytest.mark.parametrize("job", ["llama", "team-a/", 'team-a/x" }', "team-a/x y", "team-a/x/y", "Team/x", "team-a/.x"])
async def test_a_job_whose_name_is_none_is_not_believed(world: World, job: str) -> None:
    """It would become text for nft."""
    await world.tell(told(MEMBERS, jobs=(job,)))
    assert world.node.held == {FABRIC: {}}
    assert world.wire.applied[-1][1] == int(code_of(Kind.INVALID))


async def test_a_member_ends_with_the_jobs_grant(world: World) -> None:
    """Whatever its own end is; and one whose end has come is none."""
    later = int(NOW) + 60
    await world.tell(told({OWN: NEVER, PEER: int(NOW)}, expires=later))
    async with joined(world) as call:
        await call.read()
        assert world.node.held == {FABRIC: {JOB: {OWN: later}}}


async def test_members_do_not_wait_for_a_node_to_calm_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where interfaces of pods come and go all the time; the node is looked at afterwards."""
    await world.tell(told())
    looks = world.node.looks
    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._CALM", 3600)
    world.keeper.on_node_changed()
    await world.tell(told(revision=2))
    assert world.node.looks == looks
    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._CALM", 0)
    await world.tell(told(revision=3))
    await world.until(lambda: world.node.looks > looks)


async def test_steps_are_one_after_the_other_and_the_newest_counts(world: World) -> None:
    """What comes while one is being done is one more, not many."""
    world.node.may_go.clear()
    world.keeper.on_update(told(revision=1))
    await world.until(lambda: world.node.looks)
    for revision in range(2, 9):
        world.keeper.on_update(told(revision=revision))
        await asyncio.sleep(0)
    world.node.may_go.set()
    await world.until(lambda: world.wire.applied and world.wire.applied[-1] == (8, 0))
    assert len(world.node.story) <= 3


async def test_what_was_said_on_another_stream_is_not_answered_on_this_one(world: World) -> None:
    """Its number would be taken for that of something else."""
    await world.tell(told(revision=7))
    world.wire.sent.clear()
    world.keeper.on_connected()
    await world.until(lambda: world.wire.claims)
    world.keeper.on_node_changed()
    await world.until(lambda: world.node.looks > 1)
    assert not world.wire.applied
    await world.tell(told(revision=2))
    assert world.wire.applied == [(2, 0)]


async def test_claims_are_said_whole_after_each_reconnection(world: World) -> None:
    """Those that still stand, and none where none does: the server would otherwise keep what it knew."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        await call.read()
        world.wire.connected = False
        async with joined(world) as other:
            await other.read()
        world.wire.sent.clear()
        world.wire.connected = True
        world.keeper.on_connected()
        await world.until(lambda: world.wire.claims == [[(JOB, "e1", OWN)]])
    world.wire.sent.clear()
    world.keeper.on_connected()
    await world.until(lambda: world.wire.claims and world.wire.claims[-1] == [])


async def test_what_nobody_thought_of_is_not_the_last_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, told to the server, and tried again."""
    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._RETRY", 0.01)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(world.node, "settle", fail)
        world.keeper.on_update(told())
        await world.until(lambda: world.wire.applied == [(1, int(code_of(Kind.UNAVAILABLE)))])
    await world.until(lambda: world.wire.applied[-1] == (1, 0))


async def test_without_word_of_changes_the_node_is_looked_at_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the agent may open no netlink socket."""

    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._LOOK_UNTOLD", 0.02)
    world = World(tmp_path)
    monkeypatch.setattr(world.keeper, "_listen", refuse)
    async with running(world):
        await world.until(lambda: world.node.looks > 3)


async def test_a_step_ends_before_the_keeper_does(tmp_path: Path) -> None:
    """Or the next agent would be at it at the same time."""
    world = World(tmp_path)
    await asyncio.to_thread(world.folder.open)
    world.node.may_go.clear()
    world.keeper.on_update(told())
    going = asyncio.create_task(world.keeper.run())
    await world.until(lambda: world.node.settles)
    going.cancel()
    await asyncio.wait({going}, timeout=0.05)
    assert not going.done()
    world.node.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert world.node.story == [f"settle {FABRIC}"]
    world.folder.close()


# A restart


async def test_the_servers_word_is_on_the_disk_before_the_node_is_changed(world: World) -> None:
    """So that whoever is out now is not let in by a restart with the server away."""
    world.node.may_go.clear()
    world.keeper.on_update(told(MEMBERS, revision=7))
    while not (found := await kept(world)).update:
        pass
    assert pb.FabricsUpdate.FromString(found.update).revision == 7
    assert found.keys == {FABRIC}
    assert not world.node.held
    world.node.may_go.set()


async def test_a_restart_keeps_members_for_those_who_come_back(tmp_path: Path) -> None:
    """With the server away: they are in at once, and those who do not come back are out after a while."""
    async with running(World(tmp_path)) as world:
        await world.tell(told(MEMBERS, jobs=(JOB, "team-a/other")))
        async with joined(world, 29500) as call:
            await call.read()
            closed = world.node.closed
    again = World(tmp_path, grace=0.5)
    again.wire.connected = False
    again.node.closed = closed
    async with running(again):
        await again.until(lambda: again.node.held == {FABRIC: {JOB: MEMBERS, "team-a/other": MEMBERS}})
        assert again.node.closed == {29500}
        async with joined(again) as call:
            assert (await call.read()).spiffe_id
            await again.until(lambda: again.node.held == {FABRIC: {JOB: MEMBERS, "team-a/other": {}}})
            assert not again.node.closed
            assert not again.wire.applied


async def test_claims_are_held_back_while_workloads_come_back(tmp_path: Path) -> None:
    """Said at once they would give up all that have not joined again yet."""
    async with running(World(tmp_path)) as world:
        await world.tell(told(MEMBERS))
    async with running(World(tmp_path, grace=0.5)) as again:
        again.keeper.on_connected()
        async with joined(again) as call:
            await call.read()
            assert not again.wire.claims
            await again.until(lambda: again.wire.claims)
            assert again.wire.claims == [[(JOB, "e1", OWN)]]


async def test_what_ended_while_the_agent_was_not_there_is_not_held_again(tmp_path: Path) -> None:
    """Members and grants have their ends on the disk too."""
    async with running(World(tmp_path)) as world:
        await world.tell(told({OWN: NEVER, PEER: int(NOW) + 10}, expires=int(NOW) + 20))
    for past, held in ((11, {JOB: {OWN: int(NOW) + 20}}), (21, {})):
        again = World(tmp_path)
        again.now = NOW + past
        async with running(again):
            await again.until(lambda held=held, again=again: again.node.held == {FABRIC: held})  # type: ignore[misc]


async def test_what_went_while_the_agent_was_not_there_is_removed(tmp_path: Path) -> None:
    """It knows from its disk what it had put there."""
    async with running(World(tmp_path)) as world:
        await world.tell(told(fabrics=("fab", "old")))
    async with running(World(tmp_path)) as again:
        await again.tell(told())
        assert "remove team-a/old" in again.node.story


async def test_a_damaged_file_keeps_nothing_from_being_held(tmp_path: Path) -> None:
    """What the server says is held; until then, and of what it does not name, the node is left as it is."""
    world = World(tmp_path)
    await asyncio.to_thread(world.folder.open)
    await asyncio.to_thread(world.folder.save_fabrics, KeptFabrics(b"\xff\xff", frozenset({"team-a/old"})))
    world.folder.close()
    async with running(world):
        await world.tell(told())
        assert set(world.node.held) == {FABRIC}
        assert "remove team-a/old" not in world.node.story
