"""Three tiers whose authorities live for seconds: everything rotates, one restarts in the middle, nothing breaks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from tests.broker.agent.harness import OWN_UID
from tests.broker.nested.test_nested import TRAINER, bundles_of, trainer_at, until, verifies
from tests.broker.nested.tiers import Tier, tier
from tests.ports import free_port

LIFE = timedelta(seconds=30)  # prepared after 10 and replaced after 24, by a look at the clock every half second
GENERATIONS = 3


async def check_every_tier(tiers: list[Tier]) -> None:
    """What workloads of each show now, each believes."""
    shown = [await trainer_at(one) for one in tiers]
    for one in tiers:
        for chain, token in shown:
            assert verifies(chain, token, one.server.parts.trust.bundle)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_authorities_of_every_tier_rotate_without_a_gap(tmp_path: Path) -> None:
    """By themselves, three generations of each; the server in the middle is restarted while a new root spreads."""
    async with AsyncExitStack() as outer:
        root = await outer.enter_async_context(tier(tmp_path / "root", ca_ttl=LIFE))
        middle_life = await outer.enter_async_context(AsyncExitStack())
        listen = f"127.0.0.1:{free_port()}"  # one that nobody takes while it is away
        middle = await middle_life.enter_async_context(tier(tmp_path / "middle", root, ca_ttl=LIFE, listen=listen))
        bottom = await outer.enter_async_context(tier(tmp_path / "bottom", middle, ca_ttl=LIFE))
        tiers = [root, middle, bottom]
        for one in tiers:
            await one.server.create_entry(TRAINER, OWN_UID)
        await until(lambda: len(set(bundles_of(tiers))) == 1 and len(bundles_of(tiers)[0][1]) == 3)
        # 1. A root is prepared; the middle goes away and comes back.
        await until(lambda: root.server.parts.trust.authority.x509.next is not None)
        await middle_life.aclose()
        again = tier(tmp_path / "middle", root, joined=True, ca_ttl=LIFE, listen=listen)
        tiers[1] = await outer.enter_async_context(again)
        await until(lambda: len(set(bundles_of(tiers))) == 1)
        # 2. From here on everyone is believed by everyone, whatever is replaced.
        signed: list[set[str]] = [set(), set(), set()]
        async with asyncio.timeout(200):
            while min(map(len, signed)) < GENERATIONS:
                await check_every_tier(tiers)
                for one, seen in zip(tiers, signed, strict=True):
                    seen.add(one.server.parts.trust.authority.x509.current.id)
                await asyncio.sleep(0.2)
