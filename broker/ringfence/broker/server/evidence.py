"""The evidence's side of the server: what is asked on the admin socket, and what runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker import metrics
from ringfence.broker.evidence.forward import Forwarder
from ringfence.broker.evidence.judge import Question, header_line, token_shown
from ringfence.broker.evidence.record import Filter
from ringfence.broker.evidence.service import Evidence
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.intent import Intent
from ringfence.broker.revoked import Revoked
from ringfence.broker.telemetry.export import telemetry
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Method


class ServerEvidence:
    """Decisions and spans of this server, joined to *intent*; *forward* is a collector that gets them too, or empty."""

    def __init__(
        self,
        intent: Intent,
        revoked: Revoked,
        *,
        forward: str,
        clock: Callable[[], datetime],
        hastening: Hastening,
    ) -> None:
        self._intent = intent
        self._forwarder = Forwarder(forward) if forward else None
        self.evidence = Evidence(
            intent,
            model=lambda: intent.model,
            revocations=lambda: revoked.current,
            clock=clock,
            forward=self._forwarder,
            on_unvouched=hastening.missed_by_proxy,
        )
        for what in self.evidence.counters():
            metrics.EVIDENCE.labels(what).set_function(partial(self._count, what))

    async def run(self) -> None:
        """Forward, and keep our own spans, until cancelled. Nothing waits for it: spans begin a moment after start."""
        async with AsyncExitStack() as stack:
            if self._forwarder is not None:
                await stack.enter_async_context(self._forwarder)
            spans = telemetry("ringfence-server", sink=self.evidence.spans.add)
            # Importing the SDK takes a quarter of a second, and its end may flush: neither stops the loop.
            await asyncio.to_thread(spans.__enter__)
            stack.push_async_callback(asyncio.to_thread, spans.__exit__, None, None, None)
            await asyncio.Event().wait()

    def _count(self, what: str) -> int:
        return self.evidence.counters()[what]

    def check(self, asked: pb.CheckAuthzRequest) -> pb.Decision:
        """What the model says of one request; raises NOT_FOUND or INVALID."""
        if self._intent.model is None:
            raise RingfenceError(Kind.NOT_FOUND, "no intent was applied", hint="Run `ringfence policy apply DIR`")
        headers = tuple(map(header_line, asked.headers))
        question = Question(
            asked.source,
            asked.destination,
            asked.port,
            asked.method,
            asked.path,
            headers,
            dict(map(token_shown, asked.tokens)),
            asked.address,
        )
        return self.evidence.check(self._intent.model, question)

    async def explain(self, decision_id: str, wait_seconds: float) -> Sequence[pb.Decision]:
        """The decisions of that id."""
        return await self.evidence.explain(decision_id, wait_seconds)

    def tail(self, asked: pb.TailAuthzRequest) -> AsyncIterator[pb.Decision]:
        """The decisions asked for."""
        wanted = Filter(asked.denied_only, self._named(asked.source), self._named(asked.destination), asked.rule)
        return self.evidence.tail(wanted, last=asked.last, follow=asked.follow)

    def _named(self, name: str) -> str:
        """The ranks of a job that is named as a workload; their identities say the job, and not the workload."""
        workload = self._intent.model.workloads.get(name) if self._intent.model is not None else None
        return str(workload.identity) if workload is not None and workload.job else name

    async def list_departures(self, asked: pb.ListDeparturesRequest) -> pb.ListDeparturesResponse:
        """What tried to leave the mesh, since this server started."""
        return self.evidence.left(denied_only=asked.denied_only)

    def methods(self) -> dict[str, Method]:
        """The OTLP receiver."""
        return dict(self.evidence.methods())
