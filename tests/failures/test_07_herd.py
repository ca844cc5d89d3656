"""All at once, and yet not: what is drawn for each agent and each SVID spreads them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.svids import draw_jitter
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.rotation import renew_at
from tests.certs.material import HOUR, NOW, TD

MANY, TENTHS = 2_000, 10


def even(shares: Iterable[float]) -> bool:
    """Whether numbers in [0, 1] fill every tenth, none with twice its share (seven standard deviations)."""
    counts = Counter(min(int(share * TENTHS), TENTHS - 1) for share in shares)
    return set(counts) == set(range(TENTHS)) and max(counts.values()) < 2 * MANY / TENTHS


def test_svids_that_were_issued_in_one_second_are_renewed_over_six_minutes() -> None:
    """A tenth of half an hour before and after; every tenth of that window has its share."""
    moments = [renew_at(NOW, NOW + HOUR, draw_jitter()) for _ in range(MANY)]
    first = NOW + timedelta(minutes=27)
    assert even((moment - first) / timedelta(minutes=6) for moment in moments)


class Absent(Dialler):
    """A server that is not there."""

    async def dial(self):  # type: ignore[no-untyped-def]  # it never returns
        """Fail."""
        raise RingfenceError(Kind.UNAVAILABLE, "nobody is there")


class Waits(Link):
    """A link that waits for nothing, and remembers how long it would have."""

    async def _told_within(self, seconds: float) -> bool:
        self.pauses = [*getattr(self, "pauses", []), seconds]
        if len(self.pauses) == 10:
            raise StopAsyncIteration
        return False


async def pauses_of(seed: int) -> list[float]:
    """What one agent waits between its first ten tries."""
    link = Waits(
        Absent(Address("127.0.0.1", 1), lambda: Trust(TD, None), lambda: None),
        None,  # type: ignore[arg-type]  # nobody is told anything
        draw=random.Random(seed).random,  # noqa: S311  # it spreads load
    )
    with suppress(StopAsyncIteration):
        await link.run()
    return link.pauses


async def test_agents_that_lost_one_server_do_not_come_back_together() -> None:
    """Pauses double up to a quarter of a minute, each drawn between a half and one and a half of itself."""
    herd = [await pauses_of(seed) for seed in range(MANY)]
    for number, pause in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]):
        drawn = [pauses[number] for pauses in herd]
        assert even(seconds / pause - 0.5 for seconds in drawn)
