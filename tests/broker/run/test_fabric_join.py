"""A place in a job on a fabric lasts as long as the agent says so, over its restarts, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.run.fabric_join import Membership, Place
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Lane
from ringfence.proto.status import Code, Status
from tests.broker.run.fabrics import Fabrics, document

PATIENCE = 20.0
PLACE = Place("platform/fab", "team-a/llama", (29500,))


class Agent:
    """The admin socket of an agent, which may go and come back."""

    def __init__(self, folder: Path) -> None:
        self.socket, self.fabrics, self.said = str(folder / "agent.sock"), Fabrics(), list[str]()

    async def start(self, *, keeps: bool = True) -> None:
        """Listen; an agent that *keeps* no fabrics has no such service."""
        self._lane = Lane(self.fabrics.methods() if keeps else {})
        await self._lane.listen_unix(f"{self.socket}.admin")

    async def stop(self) -> None:
        """As if it were killed."""
        await self._lane.close()

    def membership(self, *, patience: float = PATIENCE) -> Membership:
        """What a run holds."""
        return Membership(PLACE, self.socket, patience=patience, say=self.said.append)


@pytest.fixture
async def agent(short_path: Path) -> AsyncIterator[Agent]:
    """There at first."""
    made = Agent(short_path)
    await made.start()
    async with asyncio.timeout(PATIENCE + 10):
        yield made
    await made.stop()


async def test_joining_says_what_and_hears_where(agent: Agent) -> None:
    """The first answer is what the node holds."""
    async with agent.membership() as held:
        (request,) = agent.fabrics.joins
        assert (request.fabric, request.job, list(request.closed_ports)) == ("platform/fab", "team-a/llama", [29500])
        assert list(held.joined.interfaces) == ["fab0"]
        assert not held.lost.done()


async def test_a_refusal_ends_the_run_before_its_command(agent: Agent) -> None:
    """In the agent's words, with a next step."""
    agent.fabrics.refusal = Status(Code.PERMISSION_DENIED, "no grant in force names team-a/trainer")
    with pytest.raises(RingfenceError, match="job team-a/llama on fabric platform/fab: no grant in force") as caught:
        await agent.membership().__aenter__()
    assert caught.value.kind is Kind.DENIED
    assert "FabricGrant" in caught.value.hint


async def test_an_agent_that_keeps_no_fabrics_says_how_it_would(agent: Agent) -> None:
    """And one that is not there, that it is not."""
    await agent.stop()
    await agent.start(keeps=False)
    with pytest.raises(RingfenceError) as caught:
        await agent.membership().__aenter__()
    assert caught.value.kind is Kind.UNIMPLEMENTED
    assert "--fabric" in caught.value.hint
    await agent.stop()
    with pytest.raises(RingfenceError) as caught:
        await agent.membership().__aenter__()
    assert caught.value.kind is Kind.UNAVAILABLE


async def test_a_port_that_stays_open_is_a_refusal(agent: Agent) -> None:
    """An agent that does not answer for the closed port has not closed it."""
    agent.fabrics.closes = False
    with pytest.raises(RingfenceError, match="does not close port 29500") as caught:
        await agent.membership().__aenter__()
    assert caught.value.kind is Kind.DENIED


async def test_what_is_taken_away_is_lost_with_the_reason(agent: Agent) -> None:
    """Once: nobody asks again whether it was meant."""
    async with agent.membership() as held:
        agent.fabrics.end(Status(Code.PERMISSION_DENIED, "the grant team-a/llama has expired"))
        with pytest.raises(RingfenceError, match=r"the command ends.*the grant team-a/llama has expired") as caught:
            await held.lost
    assert caught.value.kind is Kind.DENIED
    assert len(agent.fabrics.joins) == 1


async def test_an_agent_that_comes_back_is_joined_again(agent: Agent) -> None:
    """With the same claim, the closed port included."""
    async with agent.membership() as held:
        await agent.fabrics.joined.get()
        await agent.stop()
        await agent.start()
        await agent.fabrics.joined.get()
        first, again = agent.fabrics.joins
        assert first == again
        assert not held.lost.done()
        assert agent.said[0].startswith("lost the agent; joining job team-a/llama on fabric platform/fab again")


async def test_an_agent_that_has_yet_to_learn_who_its_processes_are_is_asked_again(agent: Agent) -> None:
    """A denial that does not last is none."""
    async with agent.membership() as held:
        await agent.fabrics.joined.get()
        agent.fabrics.refusal = Status(Code.PERMISSION_DENIED, "no entry matches")
        await agent.stop()
        await agent.start()
        while len(agent.fabrics.joins) < 3:  # noqa: ASYNC110  # the third attempt sets no event
            await asyncio.sleep(0.01)
        assert not held.lost.done()
        agent.fabrics.refusal = None
        await agent.fabrics.joined.get()


async def test_a_denial_that_lasts_takes_it_away(agent: Agent) -> None:
    """After the time for which anything is waited for."""
    async with agent.membership(patience=0.3) as held:
        await agent.fabrics.joined.get()
        agent.fabrics.refusal = Status(Code.PERMISSION_DENIED, "revoked")
        agent.fabrics.end(Status(Code.UNAVAILABLE, "going"))
        with pytest.raises(RingfenceError, match="revoked"):
            await held.lost


async def test_what_an_agent_says_at_the_end_of_an_equal_patience_is_heard(agent: Agent) -> None:
    """It knows why there is no place yet, and we would only know that there is none."""
    agent.fabrics.refusal = Status(Code.PERMISSION_DENIED, "no grant in force lets anybody")
    with pytest.raises(RingfenceError, match="no grant in force") as found:
        async with agent.membership(patience=0):
            pass
    assert "FabricGrant" in found.value.hint


async def test_a_revoked_workload_is_not_sent_to_look_for_a_grant(agent: Agent) -> None:
    """Nothing in the intent would help."""
    agent.fabrics.refusal = Status(Code.PERMISSION_DENIED, "no identity issued: spiffe://example.org/x was revoked")
    with pytest.raises(RingfenceError) as found:
        async with agent.membership():
            pass
    assert found.value.hint == "It is given again after `ringfence identity lift`"


async def test_another_fabric_under_the_same_name_is_told(agent: Agent) -> None:
    """The command was started with what it was before; more members are no news to it."""
    async with agent.membership() as held:
        changed = admin_pb2.JoinFabricResponse()
        changed.CopyFrom(held.joined)
        changed.addresses.append("10.91.0.9")
        agent.fabrics.say(changed)
        changed = admin_pb2.JoinFabricResponse(fabric=document("fab1"))
        agent.fabrics.say(changed)
        while not agent.said:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert agent.said == ["fabric platform/fab is another one now: the command has the environment of before"]
