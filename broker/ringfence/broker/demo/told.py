"""A demo as it is told: lines of progress, what was measured, what was not as it must be, and the verdict."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console


class Told:
    """Tells what happens, and keeps what was measured and what went wrong."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self.facts: dict[str, Any] = {}
        self.problems: list[str] = []

    def say(self, text: str) -> None:
        """One line of progress."""
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/dim]  {text}")

    def expect(self, ok: object, problem: str) -> None:
        """Note a problem unless *ok*."""
        if not ok:
            self.problems.append(problem)
            self.console.print(f"[red]not as expected:[/red] {problem}")


class Staged(Protocol):
    """What a demo is played on."""

    async def set(self) -> None:
        """Start everything."""

    async def clear(self) -> None:
        """End and remove everything."""


StagedType = TypeVar("StagedType", bound=Staged)


async def play(
    told: Told,
    make: Callable[[Path, Callable[[str], None]], StagedType],
    tell: Callable[[StagedType], Awaitable[None]],
    report: Path | None,
) -> int:
    """Run a whole demo, remove all it made, and give 0 only if everything was as it must be."""
    stage = make(Path(tempfile.mkdtemp(prefix="ringfence-demo-")), told.say)
    try:
        await stage.set()
        told.facts["ready_s"] = round(time.monotonic() - told.began, 2)
        await tell(stage)
    finally:
        await stage.clear()
    told.facts |= {"ok": not told.problems, "problems": told.problems}
    told.facts["seconds"] = round(time.monotonic() - told.began, 2)
    if report:
        await asyncio.to_thread(report.write_text, json.dumps(told.facts, indent=2) + "\n")
    verdict = "[red]not[/red] as expected" if told.problems else "as expected"
    told.say(f"everything was {verdict}; nothing is left behind")
    return 1 if told.problems else 0
