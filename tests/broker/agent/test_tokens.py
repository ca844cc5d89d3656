"""JWT-SVIDs: cached to half-life, served from the cache while the server is away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.tokens import Tokens
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

LIFE = timedelta(minutes=5)
ID = SpiffeId(TrustDomain("example.org"), "/ns/a/sa/w")
ENTRY = Entry("e", ID, frozenset({Selector("unix", "uid:1")}), LIFE, LIFE, (), "", 0)


class FakeServer:
    """Issues numbered tokens, or fails as it is told; its clock is the test's."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.asked = 0
        self.lost = False
        self.hangs = False
        self.code = 0

    def clock(self) -> datetime:
        """The test's time."""
        return self.now

    async def request_jwt(self, entry_id: str, audience: tuple[str, ...]) -> agent_pb2.JwtResponse:
        """As the link."""
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if self.lost:
            raise RingfenceError(Kind.UNAVAILABLE, "lost")
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        ends = int((self.now + LIFE).timestamp())
        return agent_pb2.JwtResponse(
            token=f"{entry_id}{audience}{number}", expires_at=ends, code=self.code, detail="no"
        )


@pytest.fixture
def server() -> FakeServer:
    """A server that issues."""
    return FakeServer()


@pytest.fixture
def tokens(server: FakeServer) -> Tokens:
    """Tokens of that server."""
    return Tokens(server, server.clock, patience=0.01)


async def test_a_token_is_kept_to_half_of_its_life(server: FakeServer, tokens: Tokens) -> None:
    """The same token is given until half of its life is over, then a new one is asked for."""
    first = await tokens.get(ENTRY, ("db",))
    server.now += LIFE / 2 - timedelta(seconds=1)
    assert await tokens.get(ENTRY, ("db",)) == first
    server.now += timedelta(seconds=2)
    assert await tokens.get(ENTRY, ("db",)) != first
    assert server.asked == 2


async def test_callers_share_one_question(server: FakeServer, tokens: Tokens) -> None:
    """A hundred callers at once cost the server one question; another audience is another token."""
    found = await asyncio.gather(*(tokens.get(ENTRY, ("db",)) for _ in range(100)))
    assert len(set(found)) == 1
    assert server.asked == 1
    assert await tokens.get(ENTRY, ("cache",)) not in found


@pytest.mark.parametrize("trouble", ["lost", "hangs"])
async def test_a_valid_token_serves_while_the_server_is_away(server: FakeServer, tokens: Tokens, trouble: str) -> None:
    """When the server is lost or hangs, a token in the second half of its life is given; one that ended is not."""
    first = await tokens.get(ENTRY, ("db",))
    setattr(server, trouble, True)
    server.now += LIFE * 3 / 4
    assert await tokens.get(ENTRY, ("db",)) == first
    server.now += LIFE
    with pytest.raises(RingfenceError) as caught:
        await tokens.get(ENTRY, ("db",))
    assert caught.value.kind is Kind.UNAVAILABLE


async def test_a_refusal_is_not_covered_up(server: FakeServer, tokens: Tokens) -> None:
    """When the server refuses, an older token does not hide it."""
    await tokens.get(ENTRY, ("db",))
    server.now += LIFE * 3 / 4
    server.code = 7
    with pytest.raises(RingfenceError) as caught:
        await tokens.get(ENTRY, ("db",))
    assert caught.value.kind is Kind.DENIED


async def test_tokens_of_changed_entries_are_forgotten(server: FakeServer, tokens: Tokens) -> None:
    """A token ends with its entry, and all of them with the authority."""
    first = await tokens.get(ENTRY, ("db",))
    tokens.forget(["e"])
    second = await tokens.get(ENTRY, ("db",))
    tokens.forget_all()
    assert len({first, second, await tokens.get(ENTRY, ("db",))}) == 3


async def test_kept_tokens_are_taken_up(server: FakeServer, tokens: Tokens) -> None:
    """A restarted agent gives the tokens that it kept, unless they have ended."""
    first = await tokens.get(ENTRY, ("db",))
    again = Tokens(server, server.clock)
    again.restore(tokens.dump())
    server.lost = True
    assert await again.get(ENTRY, ("db",)) == first
    server.now += 2 * LIFE
    assert again.dump() == ()
