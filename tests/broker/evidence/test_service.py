"""The evidence of a server: who may report, what is kept, what is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ringfence.broker.evidence.book import RuleFacts
from ringfence.broker.evidence.forward import Forwarder
from ringfence.broker.evidence.judge import Question
from ringfence.broker.evidence.record import EGRESS, Filter, Record
from ringfence.broker.evidence.service import LOGS, TRACES, Evidence
from ringfence.broker.telemetry.names import PUSH, REVISION
from ringfence.broker.telemetry.spans import EndedSpan
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.proto.lane import Call, Lane, Method
from ringfence.proto.status import Code, Status
from ringfence.xds import decision as envoy
from tests.broker.evidence.books import NoRules
from tests.broker.evidence.records import TRACE, WEB, denied_request, export, record
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, model_of


class Book:
    """One rule, applied once."""

    revision = "now"

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:
        """Known by its hash."""
        known = (rule_id, rule_hash) == ("team-a/read", "abc")
        return RuleFacts("a.yaml", 3, "then", "Ada", "c0ffee", "ml", "because") if known else None


@dataclass
class FakeCall:
    """A call with one request, from a peer with a certificate."""

    data: bytes
    certificate: bytes | None
    method: str = LOGS
    sent: list[Any] = field(default_factory=list)

    @property
    def peer(self) -> SimpleNamespace:
        """Only its certificate matters here."""
        return SimpleNamespace(certificate=self.certificate)

    async def receive(self) -> bytes:
        """The request as it came."""
        return self.data

    async def send(self, message: Any) -> None:
        """Keep it."""
        self.sent.append(message)


def certificate(spiffe_id: str) -> bytes:
    """A leaf for that identity."""
    now = datetime.now(UTC)
    authority = Authority.create(TrustDomain("example.test"), MemoryKeys(), now=now)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return authority.issue_x509(SpiffeId.parse(spiffe_id), key, now=now, ttl=timedelta(hours=1))[0]


async def report(evidence: Evidence, request: bytes, spiffe_id: str = WEB, path: str = LOGS) -> FakeCall:
    """Hand one export to the receiver, as the lane would."""
    call = FakeCall(request, certificate(spiffe_id), path)
    await evidence.methods()[path].handler(call)  # type: ignore[arg-type]  # all that a handler uses is there
    return call


async def test_what_a_proxy_reports_is_explained() -> None:
    """One export, two decisions and one record that decided nothing."""
    evidence = Evidence(NoRules())
    outbound = denied_request(**{envoy.POINT: envoy.POINT_OUTBOUND})
    call = await report(evidence, export(denied_request(), outbound).SerializeToString())

    (found,) = await evidence.explain(TRACE, 0)
    assert (found.rule, found.destination, found.allowed) == ("default-deny", WEB, False)
    assert evidence.counters() | {"decisions": 1, "records_undecided": 1} == evidence.counters()
    assert len(call.sent) == 1


def test_every_counter_is_documented() -> None:
    """What is dropped or pushed out is seen by whoever reads docs/evidence.md."""
    text = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()

    assert [name for name in Evidence(NoRules()).counters() if f"`{name}`" not in text] == []


def test_the_lane_demands_a_certificate_of_whoever_reports() -> None:
    """Nobody reports without an identity."""
    assert all(method.peer_certificate for method in Evidence(NoRules()).methods().values())


@pytest.mark.parametrize(
    "identity", ["spiffe://example.test/ringfence/server", "spiffe://example.test/ringfence/agent/join_token/1"]
)
async def test_servers_and_agents_judge_nothing(identity: str) -> None:
    """An identity of Ringfence itself is no proxy of a workload."""
    evidence = Evidence(NoRules())
    with pytest.raises(Status) as caught:
        await report(evidence, export(denied_request()).SerializeToString(), identity)

    assert caught.value.code is Code.PERMISSION_DENIED
    assert (len(evidence.decisions), evidence.refused) == (0, 1)


@pytest.mark.parametrize("path", [LOGS, TRACES])
async def test_bytes_that_are_no_export_are_refused(path: str) -> None:
    """A broken sender hears so, and nothing of it is kept."""
    evidence = Evidence(NoRules())
    with pytest.raises(Status) as caught:
        await report(evidence, b"\xff\xff", path=path)

    assert caught.value.code is Code.INVALID_ARGUMENT
    assert evidence.refused == 1


async def test_a_connection_that_is_reported_twice_is_kept_once() -> None:
    """Envoy logs it when it is up and, cut short, at its end; requests of one trace are all kept."""
    tcp = {
        envoy.POINT: envoy.POINT_TCP,
        envoy.STREAM_ID: "s-1",
        envoy.CONNECTION: "team-a/db@abc",
        envoy.CONNECTION_RESULT: "allowed",
    }
    evidence = Evidence(NoRules())
    await report(evidence, export(tcp, tcp, trace="00" * 16).SerializeToString())
    await report(evidence, export(denied_request(), denied_request()).SerializeToString())

    assert len(await evidence.explain("s-1", 0)) == 1
    assert len(await evidence.explain(TRACE, 0)) == 2


async def test_a_decision_is_joined_to_its_line_and_to_its_push() -> None:
    """File, line, revision, author, commit, and the span that brought the rule to a proxy."""
    evidence = Evidence(Book())
    evidence.add(record())
    evidence.spans.add(EndedSpan(PUSH, "t1", "s1", 1, 2, {REVISION: "then"}))
    evidence.spans.add(EndedSpan(PUSH, "t2", "s2", 3, 4, {REVISION: "then"}))
    (found,) = await evidence.explain(TRACE, 0)

    assert (found.path, found.line, found.revision, found.author, found.commit) == (
        *("a.yaml", 3, "then", "Ada"),
        "c0ffee",
    )
    assert dict(found.attributes) == {"push.trace_id": "t1", "push.span_id": "s1"}


async def test_a_tail_shows_the_last_ones_and_goes_on_without_a_gap() -> None:
    """What comes while the kept ones are read is not lost."""
    evidence = Evidence(NoRules())
    for name in ("1", "2", "3"):
        evidence.add(record(id=name))
    tail = evidence.tail(Filter(), last=2, follow=True)
    first = await anext(tail)
    evidence.add(record(id="4"))
    rest = [await anext(tail) for _ in range(2)]
    await tail.aclose()  # type: ignore[attr-defined]  # it is a generator

    assert [found.id for found in (first, *rest)] == ["2", "3", "4"]
    assert [found.id async for found in evidence.tail(Filter(), last=1)] == ["4"]
    assert [found.id async for found in evidence.tail(Filter())] == []


async def test_a_check_is_kept_like_any_other_decision() -> None:
    """`authz explain` finds what `authz check` answered."""
    model = model_of(MESH, TRAINER, REGISTRY, PULL)
    evidence = Evidence(NoRules(), model=lambda: model, clock=lambda: NOW)
    answer = evidence.check(model, Question("team-a/trainer", "shared/registry", "http", "PUT", "/models/team-a/x"))
    (found,) = await evidence.explain(answer.id, 0)

    assert answer == found
    assert (found.point, found.allowed) == ("model", False)
    assert "its methods named PUT" in found.attributes["nearest"]


async def test_everything_is_forwarded_as_it_came() -> None:
    """A collector gets the same bytes, whatever we make of them."""
    got: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def collect(call: Call) -> None:
        got.put_nowait((call.method, await call.receive()))
        await call.send(b"")

    lane = Lane({path: Method(collect, bytes) for path in (LOGS, TRACES)})
    port = await lane.listen_tcp("127.0.0.1", 0)
    request = export(denied_request()).SerializeToString()
    async with Forwarder(f"127.0.0.1:{port}") as forwarder:
        await report(Evidence(NoRules(), forward=forwarder), request)
        async with asyncio.timeout(30):
            assert await got.get() == (LOGS, request)
    await lane.close()


async def test_a_collector_that_is_gone_costs_records_and_nothing_else() -> None:
    """The queue is bounded; what does not fit or does not arrive is counted."""
    forwarder = Forwarder("127.0.0.1:1")
    for _ in range(1_003):
        forwarder.hand_on(LOGS, ExportLogsServiceRequest().SerializeToString())

    assert (forwarder.sent, forwarder.dropped) == (0, 3)


async def test_a_peer_for_whom_nobody_vouched_is_told_of_by_the_name_of_its_proxy() -> None:
    """Whose proxy it was says the certificate, whatever the record claims; other refusals are not told."""
    told: list[tuple[SpiffeId, TrustDomain]] = []
    evidence = Evidence(NoRules(), on_unvouched=lambda *what: told.append(what))
    refused = denied_request(
        **{
            envoy.POINT: envoy.POINT_TLS,
            envoy.PEER: "spiffe://b.test/ns/a/sa/w",
            envoy.LOCAL: "spiffe://example.test/ns/team-a/sa/somebody-else",
            envoy.TLS_FAILURE: "TLS_error:...:_unable_to_get_local_issuer_certificate:TLS_error_end",
        }
    )
    expired = refused | {envoy.TLS_FAILURE: "TLS_error:...:_certificate_has_expired:TLS_error_end"}
    await report(evidence, export(refused, expired, denied_request()).SerializeToString())
    assert told == [(SpiffeId.parse(WEB), TrustDomain("b.test"))]


def test_what_tried_to_leave_is_summed_with_a_next_step() -> None:
    """A denied host has what to write; the same decision reported twice is counted once."""
    evidence = Evidence(NoRules(), model=lambda: model_of(MESH, TRAINER))
    trainer = "spiffe://example.test/ns/team-a/sa/trainer"
    asked = Record("1", False, "default-deny", "", trainer, "evil.example:443", EGRESS, 7)
    for each in (
        asked,
        asked,
        replace(asked, id="2", time_ns=9),
        replace(asked, id="3", allowed=True, rule="team-a/x"),
    ):
        evidence.add(each)
    denied, allowed = sorted(evidence.left(denied_only=False).departures, key=lambda each: each.allowed)

    assert (denied.count, denied.first_ns, denied.last_ns) == (2, 7, 9)
    assert "Declare an External with host: evil.example" in denied.next
    assert (allowed.rule, allowed.next) == ("team-a/x", "")
    assert [each.allowed for each in evidence.left(denied_only=True).departures] == [False]
