"""A workload joins a job on a fabric: it is in when the node holds it, and out with the first reason for that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.fabrics.api import FabricsApi
from ringfence.broker.agent.fabrics.status import shown
from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import Launch
from ringfence.broker.status import code_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client
from ringfence.proto.lane import Peer
from ringfence.proto.service import service_of
from tests.broker.agent.fabrics.world import (
    ENTRY,
    FABRIC,
    JOB,
    NEVER,
    NOW,
    OWN,
    PEER,
    TRAINER,
    World,
    joined,
    running,
    told,
)
from tests.broker.agent.harness import status_of

MEMBERS = {OWN: NEVER, PEER: NEVER}
LATER = int(NOW) + 3600


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Nothing said yet, and nobody there."""
    async with running(World(tmp_path)) as made:
        yield made


def refused(kind: Kind, detail: str) -> pb.FabricRefusal:
    """The server's no to the workload's claim."""
    return pb.FabricRefusal(
        fabric=FABRIC, job=JOB, spiffe_id=TRAINER, entry_id="e1", code=int(code_of(kind)), detail=detail
    )


async def test_it_is_told_once_the_node_holds_it(world: World) -> None:
    """Claimed with the node's own addresses, admitted by the server, held by the kernel: and then it is in."""
    await world.tell(told())
    async with joined(world, 29500) as call:
        await world.until(lambda: world.wire.claims == [[], [(JOB, "e1", OWN)]])
        assert world.node.held[FABRIC] == {JOB: {}}
        await world.tell(told({OWN: LATER, PEER: NEVER}, revision=2))
        answer = await call.read()
        assert world.node.held[FABRIC] == {JOB: {OWN: LATER, PEER: NEVER}}
        assert world.node.closed == {29500}
        assert (answer.job, answer.spiffe_id, answer.until) == (JOB, TRAINER, LATER)
        assert (list(answer.interfaces), list(answer.addresses)) == (["fab0"], [OWN])
        assert [(one.address, one.until) for one in answer.members] == [(OWN, LATER), (PEER, NEVER)]
        assert (answer.fabric.name, list(answer.closed_ports)) == ("fab", [29500])


async def test_it_may_ask_before_there_is_a_grant(world: World) -> None:
    """`apply` and `run` may be two lines of one script."""
    async with joined(world) as call:
        await world.until(lambda: len(world.keeper.joins))
        await world.tell(told())
        await world.until(lambda: world.wire.claims and world.wire.claims[-1])
        await world.tell(told(MEMBERS, revision=2))
        assert (await call.read()).spiffe_id == TRAINER


async def test_it_is_told_of_each_change_of_members(world: World) -> None:
    """And of nothing that is as before."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        assert len((await call.read()).members) == 2
        await world.tell(told(MEMBERS, revision=2))
        await world.tell(told({OWN: NEVER}, revision=3))
        assert len((await call.read()).members) == 1


async def test_when_its_stream_ends_so_does_its_membership(world: World) -> None:
    """Nobody is left in on this node at once, whatever the server says; the claim is given up, and the port open."""
    await world.tell(told(MEMBERS))
    async with joined(world, 29500) as call:
        await call.read()
    await world.until(lambda: world.node.held[FABRIC] == {JOB: {}} and not world.node.closed)
    await world.until(lambda: world.wire.claims[-1] == [])


async def test_another_in_the_same_job_keeps_it(world: World) -> None:
    """Ports too are open when the last one has left that wanted them closed."""
    await world.tell(told(MEMBERS))
    async with joined(world, 29500) as first:
        await first.read()
        async with joined(world, 29500, 29501) as second:
            await second.read()
            assert world.node.closed == {29500, 29501}
            first.cancel()
            await world.until(lambda: len(world.keeper.joins) == 1)
            await world.tell(told(MEMBERS, revision=2))
            assert world.node.held[FABRIC] == {JOB: MEMBERS}
            assert world.node.closed == {29500, 29501}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (told(jobs=(), revision=2), "gives no identity any more that may use fabric team-a/fab for job"),
        (told(MEMBERS, fabrics=("other",), revision=2), "no identity any more"),
        (told(MEMBERS, ids=("spiffe://example.org/ns/b/sa/x",), revision=2), f"and this is {TRAINER}"),
        (told(refusals=(refused(Kind.DENIED, "was revoked"),), revision=2), "was revoked"),
        (told(refusals=(refused(Kind.CONFLICT, "is that of another"),), revision=2), "is that of another"),
    ],
)
async def test_it_is_out_when_the_server_says_so(world: World, after: pb.FabricsUpdate, said: str) -> None:
    """The grant or the fabric is gone, it is for others, or the claim is refused: with the reason."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        await call.read()
        await world.tell(after)
        _, detail = await status_of(call)
        assert said in detail
    await world.until(lambda: not any(world.node.held.get(FABRIC, {}).values()))


async def test_it_is_out_when_its_grant_ends_without_a_word(world: World) -> None:
    """The server may be away then."""
    await world.tell(told({OWN: LATER}, expires=LATER))
    async with joined(world) as call:
        await call.read()
        world.now = LATER
        world.keeper.on_node_changed()
        code, detail = await status_of(call)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "no identity any more" in detail
    await world.until(lambda: world.node.held[FABRIC] == {})


async def test_it_is_out_when_nobody_renews_it(world: World) -> None:
    """The server is away, and the lease of the membership over: the kernel has dropped it by then."""
    await world.tell(told({OWN: LATER, PEER: NEVER}))
    async with joined(world) as call:
        await call.read()
        world.now = LATER + 1
        world.keeper.on_node_changed()
        code, detail = await status_of(call)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "the server has not renewed it" in detail


async def test_it_is_out_when_its_identity_is_gone(world: World) -> None:
    """In the same moment, and whatever the server says of the job."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        await call.read()
        world.entries()
        assert await status_of(call) == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    await world.until(lambda: world.node.held[FABRIC] == {JOB: {}})


async def test_it_is_out_when_its_identity_is_revoked(world: World) -> None:
    """And is told so."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        await call.read()
        revoked = pb.Revoked(identities=[pb.RevokedIdentity(spiffe_id=TRAINER)])
        world.cache.on_revoked(pb.RevokedUpdate(revoked=revoked.SerializeToString()))
        assert "was revoked" in (await status_of(call))[1]
    await world.until(lambda: world.node.held[FABRIC] == {JOB: {}})


async def test_a_node_that_gets_another_address_claims_that(world: World) -> None:
    """The stream goes on, and is told once that address is a member too."""
    await world.tell(told(MEMBERS))
    async with joined(world) as call:
        await call.read()
        world.node.addresses = ()
        world.keeper.on_node_changed()
        await world.until(lambda: world.wire.claims[-1] == [])
        world.node.addresses = ("10.91.0.7",)
        world.keeper.on_node_changed()
        await world.until(lambda: world.wire.claims[-1] == [(JOB, "e1", "10.91.0.7")])
        await world.tell(told({"10.91.0.7": NEVER}, revision=2))
        assert list((await call.read()).addresses) == ["10.91.0.7"]


async def test_a_refusal_of_an_earlier_claim_says_nothing_of_a_new_one(world: World) -> None:
    """A workload that comes back is judged by what comes after it."""
    await world.tell(told(refusals=(refused(Kind.DENIED, "was revoked"),)))
    async with joined(world) as call:
        await world.until(lambda: world.wire.claims[-1] == [(JOB, "e1", OWN)])
        world.keeper.joins.wake()
        for _ in range(20):
            await asyncio.sleep(0)  # it looks, and sees that refusal again
        await world.tell(told(MEMBERS, revision=2))
        assert (await call.read()).spiffe_id == TRAINER


async def test_an_address_that_another_has_may_be_given_up(world: World) -> None:
    """It waits, since the other node may be one that was lost."""
    await world.tell(told())
    async with joined(world) as call:
        await world.until(lambda: world.wire.claims[-1] == [(JOB, "e1", OWN)])
        await world.tell(told(refusals=(refused(Kind.CONFLICT, "is that of node x"),), revision=2))
        await world.tell(told(MEMBERS, revision=3))
        assert (await call.read()).spiffe_id == TRAINER


async def test_ranks_of_a_job_are_meant_by_what_they_begin_with(world: World) -> None:
    """A star at the end of an identity stands for all of them."""
    ranks = "spiffe://example.org/ns/team-a/job/llama/rank/"
    world.entries(pb.Entry(id="e2", spiffe_id=f"{ranks}3", selectors=ENTRY.selectors, x509_ttl=60, jwt_ttl=60))
    await world.tell(told(MEMBERS, ids=(f"{ranks}*",)))
    async with joined(world) as call:
        assert (await call.read()).spiffe_id == f"{ranks}3"


async def test_a_launcher_may_join_on_the_connection_by_which_it_was_let(world: World) -> None:
    """As gRPC shares one among channels: what was known when it was first heard is not all by now."""
    selectors = ["launch:namespace:team-a", "launch:name:trainer"]
    world.entries(pb.Entry(id="e2", spiffe_id=TRAINER, selectors=selectors, x509_ttl=60, jwt_ttl=60))
    await world.tell(told(MEMBERS))
    async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
        fabrics = Client(channel, service_of(admin_pb2, "Fabrics"))
        first = fabrics.Join(admin_pb2.JoinFabricRequest(fabric=FABRIC, job=JOB), timeout=60)
        await world.until(lambda: len(world.keeper.joins))
        first.cancel()
        await world.until(lambda: not len(world.keeper.joins))
        process = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
        world.launches.register(Launch("team-a", "trainer", process))
        call = fabrics.Join(admin_pb2.JoinFabricRequest(fabric=FABRIC, job=JOB), timeout=60)
        assert (await call.read()).spiffe_id == TRAINER
        call.cancel()


# In vain


async def ended(tmp_path: Path, update: pb.FabricsUpdate | None, world: World | None = None) -> tuple[object, str]:
    """How the stream of a workload ends that waits for a moment only."""
    async with running(world or World(tmp_path, hold=0.2)) as made:
        if update is not None:
            made.keeper.on_update(update)
        async with joined(made) as call:
            return await status_of(call)


@pytest.mark.parametrize(
    ("update", "code", "said"),
    [
        (None, grpc.StatusCode.PERMISSION_DENIED, "no grant in force"),
        (told(), grpc.StatusCode.UNAVAILABLE, "not admitted it yet"),
        (told({OWN: int(NOW) - 1}), grpc.StatusCode.UNAVAILABLE, "by this node's clock"),
        (told(ids=("spiffe://example.org/ns/b/sa/x",)), grpc.StatusCode.PERMISSION_DENIED, "is for spiffe://"),
        (told(cidrs=["nonsense"]), grpc.StatusCode.INVALID_ARGUMENT, "that cannot be"),
    ],
)
async def test_who_waits_in_vain_is_told_why(
    tmp_path: Path, update: pb.FabricsUpdate | None, code: grpc.StatusCode, said: str
) -> None:
    """Once the wait is over, and each reason by itself."""
    found, detail = await ended(tmp_path, update)
    assert (found, said in detail) == (code, True), detail


async def test_who_has_no_identity_is_told_so(tmp_path: Path) -> None:
    """As by the Workload API."""
    world = World(tmp_path, hold=0.2)
    world.entries()
    assert await ended(tmp_path, told(), world) == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")


async def test_what_the_node_could_not_do_is_told(tmp_path: Path) -> None:
    """In the words of what failed."""
    world = World(tmp_path, hold=0.2)
    world.node.error = RingfenceError(Kind.CONFLICT, "has eth0, by which the default route leads")
    assert "is not in force on this node: has eth0" in (await ended(tmp_path, told(), world))[1]


async def test_a_node_without_an_address_there_is_told_so(tmp_path: Path) -> None:
    """Nothing can be claimed for it."""
    world = World(tmp_path, hold=0.2)
    world.node.addresses = ()
    code, detail = await ended(tmp_path, told(), world)
    assert (code, "no address on fabric" in detail) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("fabric", "job"), [("fab", JOB), (FABRIC, "llama"), ("", ""), ("a/b/c", JOB), (FABRIC, "a/;")]
)
async def test_names_are_whole(world: World, fabric: str, job: str) -> None:
    """A namespace that is left out could be any."""
    async with joined(world, fabric=fabric, job=job) as call:
        assert (await status_of(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_is_in_no_job_changes_nothing(tmp_path: Path) -> None:
    """Or anybody on the node could close everybody's ports, and have the members of any job let in."""
    others = ("spiffe://example.org/ns/b/sa/x",)
    async with running(World(tmp_path, hold=0.5)) as world:
        await world.tell(told(MEMBERS, ids=others))
        async with joined(world, 29500) as call:
            await world.until(lambda: len(world.keeper.joins))
            await world.tell(told(MEMBERS, ids=others, revision=2))
            assert not world.node.closed
            assert world.node.held == {FABRIC: {JOB: {}}}
            assert not any(world.wire.claims)
            await status_of(call)


async def test_it_is_in_with_all_of_the_nodes_addresses(world: World) -> None:
    """A rail of several would else be used by halves; the end is the first of them."""
    world.node.addresses = (OWN, "10.91.0.7")
    await world.tell(told({OWN: NEVER}))
    async with joined(world) as call:
        first = asyncio.ensure_future(call.read())
        await world.until(lambda: world.wire.claims[-1] == [(JOB, "e1", f"{OWN},10.91.0.7")])
        await world.tell(told({OWN: NEVER}, revision=2))
        assert not first.done()
        await world.tell(told({OWN: NEVER, "10.91.0.7": LATER}, revision=3))
        assert (await first).until == LATER


async def test_ports_that_somebody_opened_are_closed_again(world: World) -> None:
    """As soon as it is seen."""
    await world.tell(told(MEMBERS))
    async with joined(world, 29500) as call:
        await call.read()
        world.node.closed = frozenset()
        world.keeper.on_node_changed()
        await world.until(lambda: world.node.closed == {29500})


async def test_it_is_not_in_while_its_ports_are_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that it starts then could be reached."""
    monkeypatch.setattr("ringfence.broker.agent.fabrics.keeper._RETRY", 0.01)

    def fail(_: frozenset[int]) -> None:
        raise RingfenceError(Kind.UNAVAILABLE, "nft failed")

    with monkeypatch.context() as patched:
        patched.setattr(world.node, "close_ports", fail)
        await world.tell(told(MEMBERS))
        async with joined(world, 29500) as call:
            first = asyncio.ensure_future(call.read())
            await world.until(lambda: world.wire.applied[-1] == (1, int(code_of(Kind.UNAVAILABLE))))
            assert not first.done()
            patched.undo()
            assert list((await first).closed_ports) == [29500]
            assert world.node.closed == {29500}


async def test_too_many_ports_and_what_is_none_are_refused(world: World) -> None:
    """Before anything is claimed."""
    for ports in ((0,), (70000,), tuple(range(2000, 2017))):
        async with joined(world, *ports) as call:
            assert (await status_of(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


@dataclass
class Asks:
    """A call by a user, as far as it is looked at."""

    peer: Peer

    @property
    def connection(self) -> Asks:
        """Its own."""
        return self

    async def receive(self) -> None:
        """Nothing is asked for in particular."""

    async def send(self, message: object) -> None:
        """Take no answer."""
        raise AssertionError(message)


async def test_what_is_held_is_not_for_every_user(world: World) -> None:
    """Which jobs others run, and where, is not theirs to know."""
    show = FabricsApi(world.watches, world.keeper).methods()["/ringfence.admin.v1.Fabrics/ShowFabrics"].handler
    with pytest.raises(RingfenceError, match="not for every user"):
        await show(Asks(Peer("unix", uid=54321)))  # type: ignore[arg-type]  # all that is looked at


async def test_what_is_held_can_be_asked_for(world: World) -> None:
    """By root and the agent's user."""
    await world.tell(told(MEMBERS))
    async with joined(world, 29500) as call:
        await call.read()
        (found,) = shown(world.keeper).fabrics
        assert (found.state, list(found.joined), list(found.addresses)) == ("applied", [JOB], [OWN])
        assert [one.address for one in found.jobs[0].members] == [OWN, PEER]
    world.node.error = RingfenceError(Kind.UNAVAILABLE, "nft failed")
    world.keeper.on_node_changed()
    await world.until(lambda: shown(world.keeper).fabrics[0].state == "failed")
    assert "nft failed" in shown(world.keeper).fabrics[0].detail
