"""How much of the audit log those may fill who have no role at all: every workload of the mesh could try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BURST = 60.0  # refusals at once
A_SECOND = 1.0  # and from then on: about 35 MB a day


@dataclass(slots=True)
class Quota:
    """A bucket that fills with time; `monotonic` gives seconds."""

    monotonic: Callable[[], float]
    _left: float = BURST
    _at: float = 0.0

    def take(self) -> bool:
        """Whether one more is within it."""
        now = self.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * A_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
