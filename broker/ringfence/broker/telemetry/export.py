"""Where our spans go: to an OTLP collector, to a callback of this process (the evidence store), or nowhere.

The SDK is imported here and only once there is somewhere to send to: it costs a quarter of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from ringfence.broker.telemetry.names import ERROR
from ringfence.broker.telemetry.spans import Attributes, EndedSpan, Span, Value, sent_to

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

Sink = Callable[[EndedSpan], None]
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


class _OpenSpan:
    """One of the SDK's spans as ours."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """Of its trace."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def set(self, name: str, value: Value) -> None:
        """Add one attribute."""
        self._span.set_attribute(name, value)


@contextmanager
def telemetry(service: str, *, endpoint: str = "", sink: Sink | None = None) -> Iterator[None]:
    """Spans on while the block lives: over OTLP/gRPC to *endpoint* (else the environment's), and to *sink*.

    With neither, nothing is imported and `span` stays free. Blocks for some 100 ms otherwise: enter it in a thread
    when a loop is running. At the end what is queued is sent, for five seconds at most.
    """
    endpoint = endpoint or os.environ.get(ENDPOINT_VARIABLE, "")
    if not endpoint and sink is None:
        yield
        return
    provider = _provider(service, endpoint, sink)
    try:
        with sent_to(_opener(provider)):
            yield
    finally:
        provider.force_flush(5_000)
        provider.shutdown()


def _provider(service: str, endpoint: str, sink: Sink | None) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # see the module's docstring
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    # A decision about identity is evidence: it is not sampled away with its caller's trace.
    provider = TracerProvider(ALWAYS_ON, Resource.create({SERVICE_NAME: service}), shutdown_on_exit=False)
    if sink is not None:
        provider.add_span_processor(_to_sink(sink))
    if endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _to_sink(sink: Sink) -> Any:
    from opentelemetry.sdk.trace import SpanProcessor  # see the module's docstring

    class ToSink(SpanProcessor):
        """Ended spans to a callback of this process."""

        def on_end(self, span: ReadableSpan) -> None:
            """Hand it over, ids as hex."""
            sink(_ended(span))

    return ToSink()


def _ended(span: ReadableSpan) -> EndedSpan:
    return EndedSpan(
        name=span.name,
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        attributes={name: str(value) for name, value in (span.attributes or {}).items()},
    )


def _opener(provider: TracerProvider) -> Callable[[str, Attributes], AbstractContextManager[Span]]:
    from opentelemetry.trace import StatusCode  # see the module's docstring

    tracer = provider.get_tracer("ringfence")

    @contextmanager
    def opened(name: str, attributes: Attributes) -> Iterator[Span]:
        with tracer.start_as_current_span(
            name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _OpenSpan(span)
            except BaseException as error:
                # The class, not the text: an error of a library may quote what it was given.
                span.set_attribute(ERROR, type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    return opened
