"""The Traffic document: how calls to one port are timed, retried, spread, routed and limited."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ringfence.policy.fields import Count, Method, Name, Path, Percent, Span, Text, problem
from ringfence.policy.part import SOME, DestinationRef, DocumentPart, HeaderRef, Metadata, Part

_SHORTEST = timedelta(milliseconds=50)  # of a token bucket, in Envoy's local_rate_limit.proto
RetryOn = Literal["connect-failure", "refused-stream", "reset", "unavailable", "gateway-error", "5xx"]


class RetryBudget(Part):
    """At most *percent* of the requests under way are retries; `atLeast` so many may be, however few there are."""

    percent: Percent = 20
    at_least: Count = 3


class RetriesRef(Part):
    """What is tried again: more than what never reached the other side only where the calls are safe to repeat."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    on: Annotated[list[RetryOn], SOME] | None = None
    per_try_timeout: Span | None = None
    budget: RetryBudget = RetryBudget()


class OutlierDetectionRef(Part):
    """A proxy that fails *consecutiveErrors* times in a row gets nothing for a while."""

    consecutive_errors: Count = 5
    interval: Span | None = None
    base_ejection_time: Span | None = None
    max_ejection_percent: Percent = 50


class LimitsRef(Part):
    """What one caller's proxy may have open to the port at once; more is refused at once (503)."""

    max_connections: Count | None = None
    max_pending_requests: Count | None = None
    max_requests: Count | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_connections is None and self.max_pending_requests is None and self.max_requests is None:
            raise problem("RF1104", "limits has no limit", "Write maxConnections, maxPendingRequests or maxRequests")
        return self


class ZonesRef(Part):
    """Calls stay in the caller's zone while it has capacity; below *panicPercent* healthy, health is ignored."""

    prefer_local: bool = True
    panic_percent: Percent = 50


class HealthCheckRef(Part):
    """Active checks of each proxy of the port: a path that answers 200, a gRPC health service, or a connection."""

    http: Path | None = None
    grpc: Text | None = None
    tcp: Literal[True] | None = None
    interval: Span | None = None
    timeout: Span | None = None
    unhealthy_threshold: Count = 2
    healthy_threshold: Count = 1

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(form is not None for form in (self.http, self.grpc, self.tcp)) != 1:
            hint = "Write http: /path, grpc: SERVICE or tcp: true"
            raise problem("RF1104", "a healthCheck is http, grpc or tcp", hint)
        return self


class RouteMatchRef(Part):
    """Requests that have any of the methods, any of the paths, and all of the headers."""

    methods: Annotated[list[Method], SOME] | None = None
    paths: Annotated[list[Path], SOME] | None = None
    headers: Annotated[list[HeaderRef], SOME] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.methods is None and self.paths is None and self.headers is None:
            raise problem("RF1104", "a match has methods, paths or headers", "Remove match to mean every request")
        return self


class WeightRef(Part):
    """A share of the requests of a route."""

    workload: Name
    namespace: Name | None = None
    port: Name | None = None
    weight: Annotated[int, Field(ge=0, le=1_000_000)]


class MirrorRef(Part):
    """Where copies of requests go; their answers are thrown away."""

    workload: Name
    namespace: Name | None = None
    port: Name | None = None
    percent: Percent = 100


class RouteRef(Part):
    """Where requests that match any entry of *match* go; the first route that matches is taken."""

    match: Annotated[list[RouteMatchRef], SOME] | None = None
    split: Annotated[list[WeightRef], SOME] | None = None
    mirror: MirrorRef | None = None
    timeout: Span | None = None

    @field_validator("split")
    @classmethod
    def _weighs(cls, split: list[WeightRef] | None) -> list[WeightRef] | None:
        if split and not sum(one.weight for one in split):
            raise problem("RF1104", "no part of the split has a weight", "Give one of them a weight above 0")
        return split


class RateLimitRef(Part):
    """A token bucket at the port's own proxy: one for each caller, or one for all of them together."""

    requests: Count
    per: Span
    burst: Count | None = None
    by: Literal["caller", "all"] = "caller"

    @field_validator("per")
    @classmethod
    def _can_be_counted(cls, per: timedelta) -> timedelta:
        if per < _SHORTEST:
            raise problem("RF1104", "a rate limit counts 50ms and longer", "Write more requests per longer span")
        return per


class TrafficSpec(Part):
    """How calls to one port behave; what is left out stays as it is without the document."""

    to: DestinationRef
    timeout: Span | None = None
    idle_timeout: Span | None = None
    connect_timeout: Span | None = None
    retries: RetriesRef | None = None
    outlier_detection: OutlierDetectionRef | None = None
    limits: LimitsRef | None = None
    balance: Literal["round-robin", "least-request", "random"] | None = None
    zones: ZonesRef | None = None
    health_check: HealthCheckRef | None = None
    routes: Annotated[list[RouteRef], SOME] | None = None
    rate_limits: Annotated[list[RateLimitRef], SOME] | None = None


class TrafficDocument(DocumentPart):
    """Traffic policy of one port of a workload or an external host."""

    kind: Literal["Traffic"]
    metadata: Metadata
    spec: TrafficSpec
