"""Traffic policy of one port as frozen values: how calls to it are timed, retried, spread, routed and limited.

None means that the document says nothing of it, and that the compiler's own default holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Destination, Origin
from ringfence.policy.paths import PathPattern

RATE_LIMITED = "rate-limited"  # the name of the decision that a rate limit makes; no rule's id is like it


class Balance(Enum):
    """How a proxy of a port is chosen for the next request."""

    ROUND_ROBIN = "round-robin"
    LEAST_REQUEST = "least-request"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Retries:
    """What is tried again: on which failures (words of the document), how often, and within which budget."""

    attempts: int
    on: tuple[str, ...]  # empty: only what never reached the other side
    per_try_timeout: timedelta | None
    budget_percent: int
    budget_at_least: int


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """After how many failures in a row an endpoint is left out, and for how long."""

    consecutive_errors: int
    interval: timedelta | None
    base_ejection_time: timedelta | None
    max_ejection_percent: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller's proxy may have open at once."""

    max_connections: int | None
    max_pending_requests: int | None
    max_requests: int | None


@dataclass(frozen=True, slots=True)
class Zones:
    """Whether the caller's own zone is preferred, and below which share of healthy endpoints health is ignored."""

    prefer_local: bool
    panic_percent: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An active check; one of the path, the gRPC service, or (neither) a connection."""

    http: str | None
    grpc: str | None
    interval: timedelta | None
    timeout: timedelta | None
    unhealthy_threshold: int
    healthy_threshold: int


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Requests with any of the methods, any of the paths and all of the headers; an empty field does not restrict."""

    methods: frozenset[str]
    paths: tuple[PathPattern, ...]
    headers: tuple[HeaderMatch, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A share of a route's requests, in proportion to the other shares."""

    destination: Destination
    weight: int


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where copies go, and of how many requests in a hundred."""

    destination: Destination
    percent: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where matching requests go: by *split*, or (empty) to the port itself; no *match* means every request."""

    match: tuple[RouteMatch, ...]
    split: tuple[Weight, ...]
    mirror: Mirror | None
    timeout: timedelta | None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: *requests* every *per*, at most *burst* at once; a bucket a caller, or one for all."""

    requests: int
    per: timedelta
    burst: int
    by_caller: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """All that one Traffic document says of one port."""

    namespace: str
    name: str
    destination: Destination
    timeout: timedelta | None
    idle_timeout: timedelta | None
    connect_timeout: timedelta | None
    retries: Retries | None
    outlier_detection: OutlierDetection | None
    limits: Limits | None
    balance: Balance | None
    zones: Zones | None
    health_check: HealthCheck | None
    routes: tuple[Route, ...]
    rate_limits: tuple[RateLimit, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among Traffic documents."""
        return f"{self.namespace}/{self.name}"

    def reached(self) -> frozenset[Destination]:
        """The other ports that its routes send requests to, copies included."""
        mirrors = {route.mirror.destination for route in self.routes if route.mirror is not None}
        return frozenset({part.destination for route in self.routes for part in route.split} | mirrors)
