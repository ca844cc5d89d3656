"""The servers of an agent: it stays with one for as long as that one answers, and then asks the next."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ringfence.broker.address import Address


class Ring:
    """In an order of its own, so that agents which are told the same servers spread over them."""

    def __init__(self, servers: Sequence[Address], *, rng: random.Random | None = None) -> None:
        self._servers = list(dict.fromkeys(servers))
        (rng or random.Random()).shuffle(self._servers)  # noqa: S311  # it spreads load
        self._at = 0
        self._tried = 0

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def address(self) -> Address:
        """The one to use."""
        return self._servers[self._at]

    @property
    def every(self) -> tuple[Address, ...]:
        """All of them, the one to use first."""
        return tuple(self._servers[self._at :] + self._servers[: self._at])

    def stay(self) -> None:
        """It answers."""
        self._tried = 0

    def move_on(self) -> bool:
        """It does not; whether every one has been tried since one answered, so that haste is of no use."""
        self._at = (self._at + 1) % len(self._servers)
        self._tried += 1
        return self._tried % len(self._servers) == 0
