"""Our own spans: free when nobody listens, and safe when somebody does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from ringfence.broker.evidence.service import TRACES
from ringfence.broker.telemetry.export import telemetry
from ringfence.broker.telemetry.names import ATTRIBUTES, ERROR, ISSUE, PROXIES, PUSH, REVISION, SPANS, SPIFFE_ID
from ringfence.broker.telemetry.spans import EndedSpan, span
from ringfence.proto.lane import Call, Lane, Method

DOCS = Path(__file__).parents[3] / "docs" / "evidence.md"


def test_without_a_listener_a_span_is_one_shared_object() -> None:
    """Nothing is made, nothing is kept, errors pass through."""
    with span(ISSUE) as first, span(PUSH, {REVISION: "r"}) as second:
        first.set(SPIFFE_ID, "x")

    assert first is second
    with pytest.raises(ValueError, match="out"), span(ISSUE):
        raise ValueError("out")


def test_the_sdk_is_not_imported_until_it_is_needed() -> None:
    """It costs a quarter of a second: a command that sends no spans does not pay."""
    code = (
        "import sys; from ringfence.broker.telemetry.export import telemetry\n"
        "with telemetry('x'): pass\n"
        "sys.exit('opentelemetry.sdk' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sink_gets_every_span_with_its_parent_trace() -> None:
    """Spans nest, attributes may come late, and it ends when the block does."""
    ended: list[EndedSpan] = []
    with telemetry("test", sink=ended.append), span(PUSH, {REVISION: "r1"}) as push:
        push.set(PROXIES, 3)
        known = push.trace_id
        with span(ISSUE):
            pass
    with span(ISSUE):
        pass

    assert [one.name for one in ended] == [ISSUE, PUSH]
    assert ended[0].trace_id == ended[1].trace_id == known
    assert ended[1].attributes == {REVISION: "r1", PROXIES: "3"}
    assert ended[1].start_ns <= ended[0].start_ns <= ended[0].end_ns <= ended[1].end_ns


def test_listeners_may_end_in_any_order() -> None:
    """The newest gets the spans while it is there; one that has ended never comes back."""
    first, second = ExitStack(), ExitStack()
    heard: dict[str, list[EndedSpan]] = {"first": [], "second": []}
    first.enter_context(telemetry("test", sink=heard["first"].append))
    second.enter_context(telemetry("test", sink=heard["second"].append))
    first.close()
    with span(ISSUE):
        pass
    second.close()
    with span(ISSUE):
        pass
    assert {name: len(spans) for name, spans in heard.items()} == {"first": 0, "second": 1}


def test_a_failure_is_named_by_its_class_and_not_by_its_text() -> None:
    """What a library quotes in an error may be what it was given."""
    ended: list[EndedSpan] = []
    with telemetry("test", sink=ended.append), pytest.raises(ValueError, match="secret"), span(ISSUE):
        raise ValueError("secret")

    assert ended[0].attributes == {ERROR: "ValueError"}


async def test_a_collector_gets_them_over_otlp() -> None:
    """The real exporter against a lane."""
    got: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def collect(call: Call) -> None:
        got.put_nowait(await call.receive())
        await call.send(ExportTraceServiceResponse())

    def work(port: int) -> None:
        with telemetry("ringfence-test", endpoint=f"http://127.0.0.1:{port}"), span(ISSUE, {SPIFFE_ID: "x"}):
            pass

    lane = Lane({TRACES: Method(collect, ExportTraceServiceRequest.FromString)})
    port = await lane.listen_tcp("127.0.0.1", 0)
    await asyncio.to_thread(work, port)
    request = got.get_nowait()
    await lane.close()

    (resource,) = request.resource_spans
    service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
    assert (service, resource.scope_spans[0].spans[0].name) == ("ringfence-test", ISSUE)


def test_every_name_is_documented() -> None:
    """Dashboards are built on them: docs/evidence.md has each, with its meaning."""
    text = DOCS.read_text()

    assert [name for name, meaning in (SPANS | ATTRIBUTES).items() if f"| `{name}` | {meaning} |" not in text] == []
