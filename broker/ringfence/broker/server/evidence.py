"""The evidence's side of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.evidence.book import RuleBook
from ringfence.proto.lane import Method


class ServerEvidence:
    """Stands in until the receiver is here."""

    def __init__(self, book: RuleBook, *, forward: str) -> None:
        pass

    async def explain(self, decision_id: str, wait_seconds: float) -> Sequence[pb.Decision]:
        """The decisions of that id."""
        return []

    async def tail(self, asked: pb.TailAuthzRequest) -> AsyncIterator[pb.Decision]:
        """The decisions asked for."""
        for decision in ():
            yield decision

    def methods(self) -> dict[str, Method]:
        """The OTLP receiver."""
        return {}
