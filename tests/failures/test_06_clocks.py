"""Clocks of server, agent and peer that do not agree, by seconds and by minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.store import ledger
from ringfence.certs.errors import RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.svid import verify_peer
from tests.broker.agent.harness import OWN_UID, first_svids, running_agent
from tests.broker.server.harness import running_server
from tests.certs.material import HOUR, MINUTE, NOW, SECOND, TD, TRAINER, new_authority, new_key
from tests.failures.clocks import Skewed

ID = "spiffe://example.org/w"


@pytest.mark.parametrize(
    ("by", "svid", "token"),
    [
        (-10 * SECOND, True, True),
        (10 * SECOND, True, True),
        (-5 * MINUTE, False, False),
        (5 * MINUTE, True, False),
    ],
)
def test_a_peer_whose_clock_is_wrong(by: timedelta, svid: bool, token: bool) -> None:  # noqa: FBT001
    """Ten seconds cost nothing; five minutes cost what does not begin yet, and tokens of five minutes."""
    authority, _ = new_authority(now=NOW - HOUR)
    leaf = authority.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    text, _ = authority.issue_jwt(TRAINER, ["db"], now=NOW, ttl=4 * MINUTE)
    bundle = authority.bundle(1)
    assert _holds(lambda: verify_peer(leaf, bundle, now=NOW + by)) is svid
    assert _holds(lambda: validate_jwt(text, "db", {TD: bundle}, now=NOW + by)) is token


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except RingfenceError:
        return False
    return True


@pytest.mark.parametrize("seconds", [10, -8, 300])
async def test_an_agent_whose_clock_is_wrong_serves(tmp_path: Path, seconds: int) -> None:
    """It goes by what the server signed, ten seconds before its own time."""
    clock = Skewed(timedelta(seconds=seconds))
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, clock=clock) as agent:
        await server.create_entry(ID, OWN_UID)
        assert [svid.spiffe_id for svid in (await first_svids(agent.socket)).svids] == [ID]


async def test_a_node_whose_clock_is_minutes_behind_is_told_so(tmp_path: Path) -> None:
    """What it is given begins in its future: it does not join, and says why."""
    async with running_server(tmp_path) as server:
        with pytest.raises(RingfenceError, match=r"clock is (2[4-9]\d|30\d) s behind") as caught:
            async with running_agent(tmp_path, server, clock=Skewed(timedelta(minutes=-5))):
                pass
    assert "join-token" in caught.value.hint


async def test_an_agent_to_whom_all_is_over_at_once_does_not_ask_without_end(tmp_path: Path) -> None:
    """Its clock is five minutes ahead, and an SVID lives for two: the server is asked at a walk, not at a run."""
    clock = Skewed(timedelta(minutes=5))
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, clock=clock, hold=1.5) as agent:
        await server.create_entry(ID, OWN_UID, x509_ttl=120)
        before = len(await server.parts.store.run(ledger.states))
        await asyncio.gather(first_svids(agent.socket), return_exceptions=True)
        assert len(await server.parts.store.run(ledger.states)) - before <= 5


async def test_nor_does_it_renew_its_own_svid_without_end(tmp_path: Path) -> None:
    """Three quarters of an hour ahead, what lives for one is always due."""
    clock = Skewed(timedelta(minutes=45))
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, clock=clock, hold=1.0) as agent:
        await asyncio.gather(first_svids(agent.socket), return_exceptions=True)
        assert len(await server.parts.store.run(ledger.states)) <= 4  # the server's own, the first, and one more


def test_a_rest_is_never_so_long_that_what_is_held_ends() -> None:
    """A third of what is left, five seconds at most, and those for what has ended already."""
    authority, _ = new_authority(now=NOW - HOUR)
    key = new_key()
    chain = authority.issue_x509(TRAINER, key.public_key(), now=NOW, ttl=12 * SECOND)
    svid = HeldSvid.of(chain, key, TRAINER, 0.0)
    ends = svid.not_after
    rests = [svid.rest(now) for now in (svid.not_before, ends - 9 * SECOND, ends - 3 * SECOND, ends, ends + HOUR)]
    assert rests == [0.0, 3.0, 1.0, 5.0, 5.0]
