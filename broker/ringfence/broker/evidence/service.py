"""The evidence of a server: it receives what proxies decided, and answers who decided what, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.evidence.book import RuleBook
from ringfence.broker.evidence.departures import Departures
from ringfence.broker.evidence.forward import Forwarder
from ringfence.broker.evidence.join import joined
from ringfence.broker.evidence.judge import Question, judge
from ringfence.broker.evidence.limited import tell_limited
from ringfence.broker.evidence.nearest import advise
from ringfence.broker.evidence.receive import records_of, spans_of
from ringfence.broker.evidence.record import HTTP, Filter, Record
from ringfence.broker.evidence.revoked import tell_revoked
from ringfence.broker.evidence.spans import SpanStore
from ringfence.broker.evidence.store import CAPACITY, DecisionStore
from ringfence.broker.evidence.undeclared import next_step
from ringfence.broker.evidence.unvouched import unvouched
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import spiffe_id_of
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from ringfence.proto.lane import Call, Method
from ringfence.proto.status import Code, Status

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LONGEST_WAIT = 30.0  # seconds that `explain` may wait for a record
LONGEST_TAIL = CAPACITY


class Evidence:
    """Decisions and spans of the mesh, bounded, joined to the intent by *rules* when they are read.

    `model` gives the intent in force, for what would allow a denied call, `revocations` what is revoked now; `forward`
    gets everything that comes in. `on_unvouched` hears which workload's proxy refused a peer of which trust domain
    because nobody vouched for it, as far as the peer says the truth.
    """

    def __init__(
        self,
        rules: RuleBook,
        *,
        model: Callable[[], Model | None] = lambda: None,
        revocations: Callable[[], Revocations] = Revocations,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        capacity: int = CAPACITY,
        forward: Forwarder | None = None,
        on_unvouched: Callable[[SpiffeId, TrustDomain], None] = lambda *_: None,
    ) -> None:
        self.decisions = DecisionStore(capacity)
        self.departures = Departures()
        self.spans = SpanStore(capacity)
        self._rules = rules
        self._model = model
        self._revocations = revocations
        self._clock = clock
        self._forward = forward
        self._on_unvouched = on_unvouched
        self.undecided = 0  # log records that report no decision
        self.refused = 0  # exports of senders that are no workload, or that do not parse

    def methods(self) -> Mapping[str, Method]:
        """The OTLP receiver for a lane; the sender's SVID is demanded."""
        return {
            LOGS: Method(self._logs, _as_it_came, peer_certificate=True),
            TRACES: Method(self._traces, _as_it_came, peer_certificate=True),
        }

    def counters(self) -> dict[str, int]:
        """Figures for /metrics, by name."""
        return {
            "decisions": self.decisions.added,
            "decisions_kept": len(self.decisions),
            "decisions_evicted": self.decisions.evicted,
            "decisions_rate_limited": self.decisions.limited,
            "decisions_connection_limited": self.decisions.connections_limited,
            "decisions_missed_by_followers": self.decisions.missed,
            "spans": self.spans.added,
            "exports_refused": self.refused,
            "records_undecided": self.undecided,
            "forwarded": self._forward.sent if self._forward else 0,
            "forward_dropped": self._forward.dropped if self._forward else 0,
        }

    async def explain(self, decision_id: str, wait: float = 2.0) -> tuple[admin_pb2.Decision, ...]:
        """Every decision of that id, one a proxy that judged it; waits *wait* seconds for the first to come."""
        found = await self.decisions.wait(decision_id, min(max(wait, 0.0), LONGEST_WAIT))
        return tuple(self._explained(record) for record in found)

    async def tail(self, wanted: Filter, *, last: int = 0, follow: bool = False) -> AsyncIterator[admin_pb2.Decision]:
        """The *last* decisions that *wanted* wants, then, with *follow*, those to come."""
        # Subscribed before the kept ones are read: nothing falls in between.
        with self.decisions.following() as coming:
            for record in self.decisions.last(min(last, LONGEST_TAIL), wanted) if last > 0 else ():
                yield self._joined(record)
            while follow:
                record = await coming.get()
                if wanted.wants(record):
                    yield self._joined(record)

    def left(self, *, denied_only: bool) -> admin_pb2.ListDeparturesResponse:
        """What tried to leave the mesh, with a next step for what was denied."""
        model = self._model()
        listed = [
            admin_pb2.Departure(
                spiffe_id=each.workload,
                host=each.host,
                allowed=each.allowed,
                rule=each.rule,
                count=each.count,
                first_ns=each.first_ns,
                last_ns=each.last_ns,
                next="" if each.allowed else next_step(model, each.workload, each.host),
            )
            for each in self.departures.listed(denied_only=denied_only)
        ]
        return admin_pb2.ListDeparturesResponse(departures=listed, dropped=self.departures.dropped)

    def check(self, model: Model, question: Question) -> admin_pb2.Decision:
        """What the model decides on *question*, kept like any other decision; raises NOT_FOUND or INVALID."""
        record = judge(with_revoked(model, self._revocations()), question, self._clock())
        self.decisions.add(record)
        return self._explained(record)

    def add(self, record: Record) -> None:
        """Keep a decision; a connection that is reported at its start and at its end is kept once."""
        known = () if record.point == HTTP else self.decisions.find(record.id)
        if not any(k.rule == record.rule and k.destination == record.destination for k in known):
            self.decisions.add(record)
            self.departures.note(record)

    async def _logs(self, call: Call) -> None:
        request, reporter = await self._received(call, ExportLogsServiceRequest)
        seen = sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)
        for record in records_of(request, reporter):
            seen -= 1
            self.add(record)
            if (domain := unvouched(record)) is not None:
                self._on_unvouched(reporter, domain)
        self.undecided += seen
        await call.send(ExportLogsServiceResponse())

    async def _traces(self, call: Call) -> None:
        request, _ = await self._received(call, ExportTraceServiceRequest)
        for span in spans_of(request):
            self.spans.add(span)
        await call.send(ExportTraceServiceResponse())

    async def _received(self, call: Call, kind: Any) -> tuple[Any, Any]:
        """The request and who sent it; raises Status."""
        data = await call.receive()
        try:
            reporter = _reporter(call.peer.certificate or b"")
            request = kind.FromString(data or b"")
        except RingfenceError as error:
            self.refused += 1
            nobody = error.kind is Kind.UNAUTHENTICATED
            raise Status(Code.UNAUTHENTICATED if nobody else Code.PERMISSION_DENIED, error.detail) from None
        except Exception:  # noqa: BLE001  # protobuf's DecodeError: whatever it is, the sender made it
            self.refused += 1
            raise Status(Code.INVALID_ARGUMENT, f"that is no {kind.DESCRIPTOR.name}") from None
        if self._forward is not None:
            self._forward.hand_on(call.method, data or b"")
        return request, reporter

    def _joined(self, record: Record) -> admin_pb2.Decision:
        decision = joined(record, self._rules)
        tell_revoked(decision, self._revocations())
        tell_limited(decision, self._model())
        return decision

    def _explained(self, record: Record) -> admin_pb2.Decision:
        """*record* joined, with the push that brought its rule and with what would allow it."""
        decision = self._joined(record)
        if push := self.spans.push_of(decision.revision):
            decision.attributes.update({"push.trace_id": push.trace_id, "push.span_id": push.span_id})
        model = self._model()
        if model is not None:
            decision.attributes.update(advise(model, record, self._clock()))
        return decision


def _reporter(certificate: bytes) -> SpiffeId:
    """Who sent it; raises UNAUTHENTICATED, or DENIED for a server or an agent: they judge nothing."""
    reporter = spiffe_id_of(certificate)
    if reporter.is_reserved:
        raise RingfenceError(Kind.DENIED, f"{reporter} is no workload")
    return reporter


def _as_it_came(data: bytes) -> bytes:
    return data
