"""What the fleet counts, as metrics of the server: read when somebody looks, so that a push pays nothing for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import NACK, STALE, SYNCED
from ringfence.broker.metrics import REGISTRY

_COUNTERS = {
    "compiles": ("ringfence_xds_compiles", "Snapshots made for proxies."),
    "pushes": ("ringfence_xds_pushes", "Discovery responses sent."),
    "acks": ("ringfence_xds_acks", "Discovery responses accepted by proxies."),
    "nacks": ("ringfence_xds_nacks", "Discovery responses refused by proxies."),
}


class FleetMetrics(Collector):
    """The metrics of the fleet that the process serves; none before there is one."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None

    def follow(self, fleet: Fleet) -> None:
        """Show *fleet* from now on."""
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """One look."""
        if self._fleet is None:
            return
        for field, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=getattr(self._fleet.counts, field))
        states = Counter(row.state for row in self._fleet.list_proxies())
        gauge = GaugeMetricFamily("ringfence_proxies", "Connected proxies by state.", labels=["state"])
        for state in (SYNCED, STALE, NACK):
            gauge.add_metric([state.lower()], states[state])
        yield gauge


METRICS = FleetMetrics()
REGISTRY.register(METRICS)
