"""An outage longer than half of an SVID's life, and longer than all of it; the agent's clock is turned."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, running_agent, status_of, workload_client
from tests.broker.server.harness import running_server
from tests.failures.clocks import Skewed

ID = "spiffe://example.org/w"


@pytest.mark.parametrize("minutes", [31, 45, 59])
async def test_an_outage_longer_than_half_of_a_life_takes_nothing_away(tmp_path: Path, minutes: int) -> None:
    """The SVID is overdue and valid: it is served, on streams that are open and to whoever comes, until it ends."""
    clock = Skewed()
    async with workload_client(tmp_path / "agent.sock") as client:
        async with running_server(tmp_path) as server:
            running = running_agent(tmp_path, server, clock=clock)
            agent = await running.__aenter__()
            await server.create_entry(ID, OWN_UID)
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
            before = await call.read()
        clock.by = timedelta(minutes=minutes)
        assert await first_svids(agent.socket) == before
        assert not call.done()
        call.cancel()
        await running.__aexit__(None, None, None)


async def test_after_an_outage_longer_than_a_life_nothing_that_has_ended_is_served(tmp_path: Path) -> None:
    """Who comes is held, and then told to try again."""
    clock = Skewed()
    async with running_server(tmp_path) as server:
        running = running_agent(tmp_path, server, clock=clock)
        agent = await running.__aenter__()
        await server.create_entry(ID, OWN_UID)
        assert len((await first_svids(agent.socket)).svids) == 1
    clock.by = timedelta(minutes=61)
    agent.hold_for(0.3)
    async with workload_client(agent.socket) as client:
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
        assert (await status_of(call))[0] is grpc.StatusCode.UNAVAILABLE
    await running.__aexit__(None, None, None)


async def test_an_agent_that_was_away_for_longer_than_its_svid_lives_says_what_it_needs(tmp_path: Path) -> None:
    """A token works once: it is told at the start, and does not wait for nothing."""
    async with running_server(tmp_path) as server:
        async with running_agent(tmp_path, server):
            pass
        late = Skewed(timedelta(minutes=61))
        with pytest.raises(RingfenceError, match="SVID has ended, and a join token works once") as caught:
            async with running_agent(tmp_path, server, joined=True, clock=late):
                pass
    assert "ringfence token generate" in caught.value.hint
