"""Members of fabrics at a real server: nodes claim, are told of each other, and lose what they have no leave for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker import metrics
from ringfence.broker.audit.record import Record
from ringfence.broker.fabric import admitting
from ringfence.broker.fabric.message import fabric_of
from ringfence.broker.server.daemon import system_clock
from ringfence.broker.server.exported import page_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.admission import Steps, steps
from ringfence.fabric.membership import GRACE, LEASE
from tests.broker.server.fabrics import (
    EVAL,
    LLM,
    RAIL,
    SCORER,
    TRAINER,
    Ahead,
    FabricNode,
    claim_of,
    entry_of,
    grants,
    intent,
    new_node,
    on_fabric,
    until,
    workloads,
)
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import drain, joined, refusal
from tests.broker.server.test_audit import records
from tests.broker.world import let_write

A, B, C = "10.91.0.1", "10.91.0.2", "10.91.0.3"
_JOB = "job: llm, launch: {by: [{unix.uid: 7}]}"


async def recorded(server: ServerUnderTest, action: str, count: int) -> list[Record]:
    """The audit records of that *action*, once there are *count*."""
    async with asyncio.timeout(30):
        while len(found := await records(server.data_dir, action)) < count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
    return found


def left_by(node: FabricNode, left: list[Record]) -> list[str]:
    """Why claims of *node* went."""
    return [record.detail["reason"] for record in left if record.detail["node"] == node.node.spiffe_id]


async def test_nodes_of_a_job_are_told_of_each_other(tmp_path: Path) -> None:
    """Each is told the fabric as it is declared, who may join, and, once it is in, who is."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        async with new_node(server) as one, new_node(server) as two, new_node(server) as idle:
            [state] = one.held.fabrics
            assert fabric_of(state.fabric).key == RAIL
            assert [(job.job, list(job.spiffe_ids), list(job.members)) for job in state.jobs] == [
                (LLM, [TRAINER], []),
                (EVAL, [SCORER], []),
            ]
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            await two.claim(claim_of(entry, B, C))
            for node in (one, two):
                await node.until(lambda node: node.members() == {A, B, C})
            until = one.jobs()[0].members[0].until - system_clock().timestamp()
            assert LEASE - 60 < until <= LEASE
            await two.claim()
            await one.until(lambda node: node.members() == {A})
            await two.until(lambda node: node.members() == set())
            assert idle.members() == set()


async def _revoke(server: ServerUnderTest) -> str:
    await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(spiffe_ids=[TRAINER], reason="stolen"))
    return f"{TRAINER} was revoked: stolen"


async def _delete_entry(server: ServerUnderTest) -> str:
    listed = await server.admin.ListEntries(admin.ListEntriesRequest())
    [made] = [entry for entry in listed.entries if entry.spiffe_id == TRAINER and entry.origin == "api"]
    await server.delete_entry(made.id)
    return f"has no entry {made.id}"


async def _take_grant(server: ServerUnderTest) -> str:
    await server.apply(workloads() | {"eval.yaml": grants()["eval.yaml"]})
    return f"no grant in force lets job {LLM} use fabric {RAIL}"


async def _take_fabric(server: ServerUnderTest) -> str:
    documents = workloads()
    del documents["rail.yaml"]
    await server.apply(documents)
    return f"there is no fabric {RAIL} of the plane fabric"


async def _take_network(server: ServerUnderTest) -> str:
    documents = intent()
    documents["rail.yaml"] = documents["rail.yaml"].replace("10.91.0.0/16", "10.92.0.0/16")
    await server.apply(documents)
    return f"{A} is no address of fabric {RAIL}"


@pytest.mark.parametrize("take", [_revoke, _delete_entry, _take_grant, _take_fabric, _take_network])
async def test_what_a_claim_stands_by_takes_it_away(
    tmp_path: Path, take: Callable[[ServerUnderTest], Awaitable[str]]
) -> None:
    """From every node at once; each that claimed is told why, and it is in the audit log."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry = (await server.create_entry(TRAINER, "unix:uid:7")).id
        async with new_node(server) as one, new_node(server) as two:
            for node, address in ((one, A), (two, B)):
                await node.claim(claim_of(entry, address))
            for node in (one, two):
                await node.until(lambda node: node.members() == {A, B})
            why = await take(server)
            for node in (one, two):
                await node.until(lambda node: node.members() == set() and bool(node.refusals))
            assert why in one.refusals[0]
            left = await recorded(server, "fabric.leave", 2)
            assert [why in reason for reason in left_by(one, left)] == [True]
            assert len(left_by(two, left)) == 1
            refused = await recorded(server, "fabric.join", 4)
            assert {record.actor for record in refused[2:]} == {one.node.spiffe_id, two.node.spiffe_id}
            assert all(record.result.startswith("refused: ") for record in refused[2:])


@pytest.mark.parametrize("how", ["banned", "evicted"])
async def test_a_node_that_is_put_out_is_out_at_once(tmp_path: Path, how: str) -> None:
    """There is no grace for it: its stream ends, and the others hear of it."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        async with new_node(server) as one, new_node(server) as two:
            for node, address in ((one, A), (two, B)):
                await node.claim(claim_of(entry, address))
            await one.until(lambda node: node.members() == {A, B})
            if how == "banned":
                await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[two.node.spiffe_id], reason="lost"))
            else:
                await server.admin.EvictNodes(admin.EvictNodesRequest(spiffe_ids=[two.node.spiffe_id]))
            await one.until(lambda node: node.members() == {A})
            assert (await refusal(drain(two.stream.call))).code() is grpc.StatusCode.PERMISSION_DENIED
            [reason] = left_by(two, await recorded(server, "fabric.leave", 1))
            assert {"banned": "is banned: lost", "evicted": "is not admitted here"}[how] in reason


async def test_a_node_that_is_put_out_while_it_is_away_has_no_grace(tmp_path: Path) -> None:
    """The others hear of it as it is said, and not when the grace is over."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry, node = await entry_of(server), await joined(server)
        async with new_node(server) as one:
            await one.claim(claim_of(entry, A))
            async with on_fabric(node) as two:
                await two.claim(claim_of(entry, B))
                await one.until(lambda node: node.members() == {A, B})
            await leaving(server, node.spiffe_id, so=True)
            await server.admin.BanNodes(admin.BanNodesRequest(spiffe_ids=[node.spiffe_id]))
            await one.until(lambda node: node.members() == {A})


async def test_an_address_is_the_first_nodes_until_it_leaves(tmp_path: Path) -> None:
    """Another one with it is told who has it, and has it without asking again when that has left."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        async with new_node(server) as one, new_node(server) as two:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            await two.claim(claim_of(entry, A, B))
            await two.until(lambda node: bool(node.refusals))
            assert f"{A} is that of node {one.node.spiffe_id}" in two.refusals[0]
            assert two.held.refusals[0].code == grpc.StatusCode.ALREADY_EXISTS.value[0]
            assert two.members() == set()
            await one.claim()
            await two.until(lambda node: node.members() == {A, B} and not node.refusals)


@pytest.mark.parametrize("same", [True, False])
async def test_another_tenant_never_has_an_address_of_a_job(tmp_path: Path, *, same: bool) -> None:
    """Neither on its node nor on another. It inherits nothing: it is a claim of its own that stands then."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        mine, theirs = claim_of(await entry_of(server), A), await entry_of(server, SCORER)
        other = claim_of(theirs, A, job=EVAL, spiffe_id=SCORER)
        async with new_node(server) as one, new_node(server) as two:
            await one.claim(mine)
            await one.until(lambda node: node.members() == {A})
            second = one if same else two
            await second.claim(*([mine, other] if same else [other]))
            await second.until(lambda node: bool(node.refusals))
            assert (second.members(), second.members(EVAL)) == ({A} if same else set(), set())
            await one.claim(*([other] if same else []))
            await second.until(lambda node: node.members(EVAL) == {A})
            assert second.members() == set()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ({"spiffe_id": SCORER}, "is not among the identities of job"),
        ({"entry_id": "none"}, "has no entry none"),
        ({"addresses": ["192.0.2.1"]}, "is no address of fabric"),
        ({"job": EVAL}, "is not among the identities of job"),
        ({"fabric": "platform/other"}, "there is no fabric"),
    ],
)
async def test_a_claim_that_nothing_gives_leave_for_is_refused(
    tmp_path: Path, spoil: dict[str, object], why: str
) -> None:
    """That one alone: another of the same node stands. Said again it is not recorded again."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        claimed = {"fabric": RAIL, "job": LLM, "entry_id": await entry_of(server), "spiffe_id": TRAINER}
        bad = pb.FabricClaim(**claimed | {"addresses": [B]} | spoil)
        good = claim_of(await entry_of(server, SCORER), A, job=EVAL, spiffe_id=SCORER)
        async with new_node(server) as one:
            await one.claim(bad)
            await one.until(lambda node: bool(node.refusals))
            await one.claim(bad, good)
            await one.until(lambda node: node.members(EVAL) == {A})
            assert [why in detail for detail in one.refusals] == [True]
            said = await recorded(server, "fabric.join", 2)
            assert [record.result.partition(":")[0] for record in said] == ["refused", "ok"]


async def test_the_ranks_of_a_job_are_members_by_instances_of_its_rule(tmp_path: Path) -> None:
    """Each by its own identity: one that is revoked leaves, and the others stay."""
    documents = intent()
    documents["trainer.yaml"] = documents["trainer.yaml"].replace("match: [{unix.uid: 1001}]", _JOB)
    job = "spiffe://example.org/ns/team-a/job/llm/rank/"
    async with running_server(tmp_path) as server:
        await server.apply(documents)
        rule = await entry_of(server, f"{job}{{launch.rank}}")
        async with new_node(server) as one, new_node(server) as two:
            assert list(one.jobs()[0].spiffe_ids) == [f"{job}*"]
            for rank, (node, address) in enumerate(((one, A), (two, B))):
                path = f"/ns/team-a/job/llm/rank/{rank}"
                await node.claim(claim_of(f"{rule}#{path}", address, spiffe_id=f"{job}{rank}"))
            await one.until(lambda node: node.members() == {A, B})
            await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(spiffe_ids=[f"{job}1"]))
            await one.until(lambda node: node.members() == {A})
            await one.claim(claim_of(f"{rule}#/ns/team-a/job/other/rank/1", A, spiffe_id=f"{job}1"))
            await one.until(lambda node: bool(node.refusals))
            assert one.members() == set()


async def test_an_entry_of_another_agent_lets_nobody_in(tmp_path: Path) -> None:
    """Though it gives the identity that is granted."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        async with new_node(server) as one, new_node(server) as two:
            theirs = await server.create_entry(TRAINER, "unix:uid:7", parent_id=two.node.spiffe_id)
            await one.claim(claim_of(theirs.id, A))
            await one.until(lambda node: bool(node.refusals))
            assert f"has no entry {theirs.id}" in one.refusals[0]


async def test_a_node_is_told_of_jobs_that_it_can_have_workloads_of(tmp_path: Path) -> None:
    """As entries come and go that give an identity of a granted namespace; of the fabric it is told in any case."""
    documents = workloads() | grants()
    documents["any.yaml"] = "kind: Workload\nmetadata: {name: any, namespace: team-c}\nspec: {role: training}\n"
    documents["rail.yaml"] = documents["rail.yaml"].replace("tenants: [", "tenants: [team-c, ")
    documents["eval.yaml"] = documents["eval.yaml"].replace("{workload: scorer}", "{namespace: team-c}")
    documents["eval.yaml"] = documents["eval.yaml"].replace("namespace: team-b", "namespace: team-c")
    async with running_server(tmp_path) as server:
        await server.apply(documents)
        async with new_node(server) as one, new_node(server) as two:
            job = "team-c/eval"
            assert (one.jobs(job), len(one.jobs())) == ([], 1)
            member = "spiffe://example.org/ns/team-c/sa/any"
            made = await server.create_entry(member, "unix:uid:7", parent_id=one.node.spiffe_id)
            await one.until(lambda node: bool(node.jobs(job)))
            assert list(one.jobs(job)[0].spiffe_ids) == ["spiffe://example.org/ns/team-c/*"]
            await one.claim(claim_of(made.id, A, job=job, spiffe_id=member))
            await one.until(lambda node: node.members(job) == {A})
            await server.delete_entry(made.id)
            await one.until(lambda node: not node.jobs(job))
            assert (two.jobs(job), [state.fabric.name for state in two.held.fabrics]) == ([], ["rail"])


async def test_a_node_that_comes_back_in_time_was_never_away(tmp_path: Path) -> None:
    """The others hear nothing of it; of one that does not they hear when its grace is over."""
    clock = Ahead()
    async with running_server(tmp_path, clock=clock) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        node = await joined(server)
        async with new_node(server) as one:
            await one.claim(claim_of(entry, A))
            async with on_fabric(node) as two:
                await two.claim(claim_of(entry, B))
                await one.until(lambda node: node.members() == {A, B})
            async with on_fabric(node) as two:
                assert two.members() == {A, B}
                await two.claim(claim_of(entry, B, C))
                await one.until(lambda node: node.members() != {A, B})
                assert one.members() == {A, B, C}
            await leaving(server, node.spiffe_id, so=True)
            clock.put(server, GRACE + 1)
            await one.until(lambda node: node.members() == {A})
            assert [record.detail["reason"] for record in await recorded(server, "fabric.leave", 1)] == [
                f"its node did not come back within {GRACE} s"
            ]


async def leaving(server: ServerUnderTest, agent: str, *, so: bool) -> None:
    """Wait until the claims of that agent have a time to go, or none."""
    rows = server.parts.admitting.members
    await until(lambda: all(bool(one.leaves) is so for one in rows.rows if one.claim.agent == agent))


async def test_a_grant_ends_on_time(tmp_path: Path) -> None:
    """Nodes knew until when, and are told when it has come."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        async with new_node(server) as one:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            ends = system_clock().replace(microsecond=0) + timedelta(seconds=3)
            await server.apply(intent(ends))
            await one.until(lambda node: [job.expires_at for job in node.jobs()] == [int(ends.timestamp())])
            assert one.jobs()[0].members[0].until == int(ends.timestamp())
            await one.until(lambda node: not node.jobs())
            assert system_clock() >= ends
            assert [state.fabric.name for state in one.held.fabrics] == ["rail"]


async def test_without_its_database_a_server_lets_nobody_in_and_ends_what_ends(tmp_path: Path) -> None:
    """Nothing is told that is not on disk; a grant ends by the clock, and when the disk is back all goes on."""
    async with running_server(tmp_path) as server:
        ends = system_clock().replace(microsecond=0) + timedelta(seconds=4)
        await server.apply(intent(ends) | {"eval.yaml": grants()["eval.yaml"]})
        entry, scorer = await entry_of(server), await entry_of(server, SCORER)
        async with new_node(server) as one, new_node(server) as two:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            await let_write(server.parts.store, allowed=False)
            await two.claim(claim_of(scorer, B, job=EVAL, spiffe_id=SCORER))
            await one.until(lambda node: not node.jobs())
            assert system_clock() >= ends
            assert two.members(EVAL) == set()
            await let_write(server.parts.store, allowed=True)
            await two.until(lambda node: node.members(EVAL) == {B})
            assert (await recorded(server, "fabric.leave", 1))[0].detail["node"] == one.node.spiffe_id


async def test_who_cannot_be_recorded_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with everything that is in the audit log; it is tried again until it can."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry, tried = await entry_of(server), asyncio.Event()

        def full(_: object) -> None:
            loop.call_soon_threadsafe(tried.set)
            raise RingfenceError(Kind.EXHAUSTED, "no space left")

        loop = asyncio.get_running_loop()
        async with new_node(server) as one:
            with monkeypatch.context() as patched:
                patched.setattr(server.parts.audit, "append", full)
                await one.claim(claim_of(entry, A))
                async with asyncio.timeout(30):
                    await tried.wait()
                assert not list(server.parts.admitting.members.rows)
            await one.until(lambda node: node.members() == {A})


async def test_what_nobody_foresaw_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure must not end all that ends by the clock."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        entry, looks = await entry_of(server), list[int]()

        def fails_once(*given: Any, **named: Any) -> Steps:
            looks.append(1)
            if len(looks) == 1:
                raise ValueError("nobody foresaw this")
            return steps(*given, **named)

        monkeypatch.setattr(admitting, "steps", fails_once)
        async with new_node(server) as one:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            assert len(looks) > 1


async def test_a_lease_is_renewed_at_half(tmp_path: Path) -> None:
    """For as long as the node is connected; without a word of it."""
    clock = Ahead()
    async with running_server(tmp_path, clock=clock) as server:
        await server.apply(intent(system_clock() + timedelta(days=1)))
        entry = await entry_of(server)
        async with new_node(server) as one, new_node(server) as two:
            await one.claim(claim_of(entry, A))
            await two.claim(claim_of(entry, B))
            await one.until(lambda node: node.members() == {A, B})
            before = {member.address: member.until for member in one.jobs()[0].members}
            clock.put(server, LEASE / 2 + 5)
            await one.until(lambda node: min(m.until for m in node.jobs()[0].members) > max(before.values()))
            assert one.members() == {A, B}
            assert len(await records(server.data_dir, "fabric.join")) == 2


async def test_a_restarted_server_knows_the_members_before_nodes_are_back(tmp_path: Path) -> None:
    """The first that is back is told of the other, who has a while to come back too."""
    clock = Ahead()
    async with running_server(tmp_path, clock=clock) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        nodes = [await joined(server), await joined(server)]
        async with on_fabric(nodes[0]) as one, on_fabric(nodes[1]) as two:
            await one.claim(claim_of(entry, A))
            await two.claim(claim_of(entry, B))
            await one.until(lambda node: node.members() == {A, B})
    async with running_server(tmp_path, clock=clock) as server:
        nodes[0].address = server.address
        async with on_fabric(nodes[0]) as one:
            assert one.members() == {A, B}
            await one.claim(claim_of(entry, A))
            await leaving(server, nodes[0].spiffe_id, so=False)
            clock.put(server, GRACE + 1)
            await one.until(lambda node: node.members() == {A})


async def test_a_node_that_does_not_claim_again_loses_what_it_had(tmp_path: Path) -> None:
    """An agent that came back without its state has the grace to say so."""
    clock = Ahead()
    async with running_server(tmp_path, clock=clock) as server:
        await server.apply(intent())
        entry, node = await entry_of(server), await joined(server)
        async with on_fabric(node) as one:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
        await leaving(server, node.spiffe_id, so=True)
        async with on_fabric(node) as one:
            assert one.members() == {A}
            clock.put(server, GRACE + 1)
            await one.until(lambda node: node.members() == set())


async def test_only_agents_that_keep_fabrics_may_claim(tmp_path: Path) -> None:
    """Another one is told nothing of them either."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        node = await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")
            await stream.say(fabric_claims=pb.FabricClaims())
            assert await stream.call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_nodes_say_that_they_hold_is_counted(tmp_path: Path) -> None:
    """As a time for what is in force, and with its reason for what is not."""
    failed = metrics.FABRIC_APPLIED.labels("failed")
    before = failed._value.get()
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        async with new_node(server) as one:
            await one.applied()
            await one.applied(code=9, detail="nft is missing")
            await until(lambda: failed._value.get() > before)
            [node] = server.parts.admitting.members.nodes.values()
            assert (node.applied.revision, node.applied.detail) == (one.held.revision, "nft is missing")
            page = page_of(server.parts).decode()
            assert 'ringfence_fabric_nodes{state="failed"} 1.0' in page
            assert "ringfence_fabric_members 0.0" in page
