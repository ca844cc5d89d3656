"""Why a process has the identities it has, or none."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent import explaining
from ringfence.broker.agent.callers import Callers
from ringfence.broker.agent.config import ADMIN_SUFFIX
from ringfence.broker.agent.explaining import Explainer
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.broker.attest.named import held
from ringfence.broker.status import error_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests import parts
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, first_svids, running_agent
from tests.broker.agent.watched import World
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server

NAME = "spiffe://example.org/"
OWN_GID = f"unix:gid:{os.getegid()}"
pytestmark = pytest.mark.e2e


async def explain(agent: AgentUnderTest, pid: int) -> admin_pb2.ExplainEntryResponse:
    """The answer of the admin socket; raises as a client of ours would show it."""
    path = f"{agent.socket}{ADMIN_SUFFIX}"
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        client = Client(channel, service_of(admin_pb2, "Launcher"))
        try:
            answer: admin_pb2.ExplainEntryResponse = await client.ExplainEntry(
                admin_pb2.ExplainEntryRequest(pid=pid), timeout=30
            )
        except grpc.aio.AioRpcError as error:
            raise error_of(error, where=path) from None
        return answer


async def test_what_matches_and_what_the_nearest_lack(tmp_path: Path) -> None:
    """All facts are looked for, wanted or not; the nearest are those that lack least; rules say what is not filled."""
    async with running_server(tmp_path) as server:
        await server.create_entry(NAME + "mine", OWN_UID)
        await server.create_entry(NAME + "far", OWN_UID, "unix:gid:4242", "unix:path:/nowhere")
        await server.create_entry(NAME + "near", OWN_UID, OWN_GID, "unix:gid:4242")
        await server.create_entry(NAME + "ns/{k8s.ns}", OWN_UID)
        await server.create_entry(NAME + "u/{unix.uid}", OWN_UID)
        async with running_agent(tmp_path, server) as agent:
            await first_svids(agent.socket)
            answer = await explain(agent, os.getpid())
            assert {OWN_UID, OWN_GID} <= set(answer.selectors)
            assert any(each.startswith("unix:sha256:") for each in answer.selectors)
            assert not answer.failures
            matching = {e.spiffe_id: e.detail for e in answer.entries if e.matches}
            assert matching.keys() == {NAME + "mine", f"{NAME}u/{os.geteuid()}"}
            assert "served, SVID until" in matching[NAME + "mine"]
            nearest = [(e.spiffe_id.removeprefix(NAME), list(e.missing)) for e in answer.entries if not e.matches]
            assert nearest == [
                ("ns/{k8s.ns}", []),
                ("near", ["unix:gid:4242"]),
                ("far", ["unix:gid:4242", "unix:path:/nowhere"]),
            ]
            assert "k8s.ns" in next(e.detail for e in answer.entries if e.spiffe_id.endswith("ns}"))


async def test_a_process_that_never_called_is_explained(tmp_path: Path) -> None:
    """It need not know of the agent."""
    async with running_server(tmp_path) as server:
        await server.create_entry(NAME + "mine", OWN_UID)
        async with running_agent(tmp_path, server) as agent:
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
            answer = await explain(agent, child.pid)
            assert [(e.spiffe_id, e.detail) for e in answer.entries] == [(NAME + "mine", "given when it is asked for")]
            await child.communicate(b"\n")
            with pytest.raises(RingfenceError) as caught:
                await explain(agent, child.pid)
            assert caught.value.kind is Kind.NOT_FOUND


async def test_another_users_process_is_none_of_ones_business() -> None:
    """Neither root nor the agent's own user nor its owner: denied, whatever is asked."""
    parts.root()
    with pytest.raises(RingfenceError) as caught, held(os.getpid()) as process:
        explaining._check_may_ask(process, 4242)
    assert caught.value.kind is Kind.DENIED
    child = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, user=4242)
    with held(child.pid) as process:
        for asker in (0, 4242):
            explaining._check_may_ask(process, asker)
    await child.communicate(b"")


def test_who_is_not_root_is_told_of_near_entries_only() -> None:
    """Those that share a selector with the process; of the rest nobody but root and the agent's user hears."""
    cache = World().cache
    near = agent_pb2.Entry(id="near", spiffe_id=NAME + "near", selectors=[OWN_UID, "unix:gid:4242"])
    far = agent_pb2.Entry(id="far", spiffe_id=NAME + "far", selectors=["unix:gid:4242"])
    cache.on_entries(agent_pb2.EntriesUpdate(upserts=[near, far]))
    explainer = Explainer(cache, Callers((), LaunchAttestor(), frozenset))
    have = frozenset({Selector.parse(OWN_UID)})
    for privileged, ids in ((True, ["near", "far"]), (False, ["near"])):
        assert [e.entry_id for e in explainer._entries(have, privileged=privileged)] == ids


async def test_the_command_tells_people_and_machines(tmp_path: Path) -> None:
    """Exit 3 when nothing matches, 0 when something does."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(NAME + "other", OWN_UID, "unix:gid:4242")
        async with running_agent(tmp_path, server) as agent:
            command = ("entry", "explain", str(os.getpid()), "--socket", agent.socket)
            none = await ringfence(*command)
            assert none.code == 3
            assert "No entry matches." in none.out
            assert "- unix:gid:4242" in none.out
            await server.delete_entry(made.id)
            await server.create_entry(NAME + "mine", OWN_UID)
            await first_svids(agent.socket)
            found = await ringfence(*command, "-o", "json")
            assert found.code == 0
            assert [entry["spiffeId"] for entry in found.json["entries"]] == [NAME + "mine"]
            assert "Entries that match:" in (await ringfence(*command)).out
            assert (await ringfence("entry", "explain", "0", "--socket", agent.socket)).code == 2
