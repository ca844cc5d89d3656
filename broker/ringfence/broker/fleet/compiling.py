"""From what a proxy depends on to what it is to hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from ringfence.broker.fleet.endpoints import Served
from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.fleet.scope import Scope
from ringfence.broker.telemetry.names import COMPILE, NODE, SPIFFE_ID
from ringfence.broker.telemetry.spans import span
from ringfence.policy.model import Model, Workload
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot


class Compiler(Protocol):
    """`ringfence.xds.compile.compile_snapshot` with the facts of this server bound."""

    def __call__(
        self,
        model: Model,
        workload: Workload,
        instance: Instance,
        endpoints: Mapping[Served, tuple[Endpoint, ...]],
        /,
        *,
        now: datetime,
    ) -> Snapshot:
        """What one proxy is to hold; raises RingfenceError."""


@dataclass(slots=True)
class Counts:
    """What happened since the start, for whoever exports it."""

    compiles: int = 0
    pushes: int = 0
    acks: int = 0
    nacks: int = 0


class Compiling:
    """Compiles for one proxy at a time, by its scope alone; counts what it does in *counts*."""

    def __init__(self, compiler: Compiler, clock: Callable[[], datetime], counts: Counts) -> None:
        self._compiler = compiler
        self._clock = clock
        self._counts = counts
        self._last: tuple[Scope, Model] | None = None

    def snapshot(
        self, proxy: Proxy, endpoints_of: Callable[[str, str], tuple[Endpoint, ...]], revision: str
    ) -> Snapshot:
        """What *proxy* is to hold under the model of *revision*; raises what the compiler raises."""
        scope = proxy.scope
        if scope is None:  # The workload is gone from the intent: nothing is its to serve or reach.
            return Snapshot({}, revision)
        endpoints = {served: endpoints_of(*served) for served in proxy.reads}
        self._counts.compiles += 1
        # Of a job each proxy is that of one rank, and has the certificate of that one.
        workload = replace(scope.workload, identity=proxy.caller.spiffe_id) if scope.workload.job else scope.workload
        with span(COMPILE, {SPIFFE_ID: str(workload.identity), NODE: proxy.instance.node_id}):
            model = self._of(scope, revision)
            return self._compiler(model, workload, proxy.instance, endpoints, now=self._clock())

    def _of(self, scope: Scope, revision: str) -> Model:
        """The model of *scope*, which says no revision, with *revision*: made once for the proxies of a workload."""
        if self._last is None or self._last[0] is not scope or self._last[1].revision != revision:
            self._last = (scope, replace(scope.model, revision=revision))
        return self._last[1]
