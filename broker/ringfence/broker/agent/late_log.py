"""The agent's log lines, held back until the library that writes them is loaded: a start does not wait for it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

_LEVEL: list[str] = []
_HELD: list[tuple[float, str, str, dict[str, Any]]] = []
_DELAY = 0.3  # seconds that a start goes before the 40 ms which the logging library takes to load


def set_level(level: str) -> None:
    """Log from *level* on, as JSON; without it the embedding program decides."""
    _LEVEL[:] = [level]


def flush() -> None:
    """Write what was held back; at the latest when the process ends."""
    held, _HELD[:] = tuple(_HELD), []
    if not held:
        return
    from ringfence.broker.log import configure, log

    if _LEVEL:
        configure(_LEVEL.pop())
    for when, level, event, facts in held:
        getattr(log, level)(event, at=datetime.fromtimestamp(when, UTC).isoformat(), **facts)


def emit(level: str, event: str, **facts: Any) -> None:
    """Write a log line, now or once the library is loaded."""
    if "ringfence.broker.log" in sys.modules and not _HELD:
        from ringfence.broker.log import log

        getattr(log, level)(event, **facts)
        return
    if not _HELD:
        with suppress(RuntimeError):  # no loop: whoever ends the process flushes
            asyncio.get_running_loop().call_later(_DELAY, flush)
    _HELD.append((time.time(), level, event, facts))
