"""Who is told when something that the agent knows has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.entries import Applied


class Listener(Protocol):
    """Who is to know of changes: the watches of the open streams."""

    def on_entries(self, applied: Applied, *, facts_changed: bool) -> None:
        """Entries came or went; `facts_changed`: other facts about callers are wanted than before."""
        ...

    def on_svids(self, entry_ids: frozenset[str]) -> None:
        """The SVIDs of these entries changed."""
        ...

    def on_bundles(self) -> None:
        """A bundle or a revocation list changed."""
        ...

    def on_revoked(self, revoked: frozenset[str], *, lifted: bool) -> None:
        """These identities were revoked; *lifted*: others are no longer."""
        ...

    def watched(self) -> frozenset[str]:
        """The entries that some open stream shows."""
        ...


@dataclass(slots=True)
class Hooks:
    """Who else is to know, beside the open streams."""

    gone: Callable[[frozenset[str]], None] = lambda _: None  # entries that went or changed
    entries: Callable[[], None] = lambda: None
    bundle: Callable[[bytes], None] = lambda _: None  # our own trust domain's, as JSON
    rotate: Callable[[timedelta, frozenset[str]], None] = lambda _, __: None
    revoked: Callable[[], None] = lambda: None  # other things are revoked than before
    callers_revoked: Callable[[], None] = lambda: None  # identities that were not revoked before, anybody's
    fabrics: Callable[[agent_pb2.FabricsUpdate], None] | None = None  # None: this agent keeps none
