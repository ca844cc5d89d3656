"""The agent's pages for probes and Prometheus, with what it counted so far."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.watches import Watches
from ringfence.broker.http import JSON, Page, Routes
from ringfence.broker.version import VERSION

# Counter in events.COUNTS to (its label's name or empty, help).
_HELP = {
    "connects": ("", "Streams to the server that were opened."),
    "disconnects": ("reason", "Streams to the server that were lost, or failed to open."),
    "entry_updates": ("", "Changes of entries that the server pushed."),
    "svids": ("type", "SVIDs received from the server."),
    "svid_failures": ("reason", "SVIDs not received: refused, asked for again, or the agent's own."),
    "cut_connections": ("", "Open connections that were closed because the caller was revoked."),
    "revoked_svids": ("", "SVIDs that were dropped because they, or their identities, were revoked."),
    "turned_away": ("", "Times that the server refused this node for good, and all that it gave was dropped."),
    "attestations": ("held_by", "Workloads attested, by how their process is held."),
    "changed_callers": ("seen_by", "Processes that lost their streams, being another program or user: event or look."),
    "process_events_lost": ("", "Times that the kernel told of more processes than were read of; all were looked at."),
    "attestor_failures": ("attestor", "Attestors that could not tell."),
    "broker_connections": ("result", "Connections to the Broker API whose certificate TLS took."),
    "pod_outages": ("", "Times that the Kubernetes API stopped telling of the pods of this node, or how it failed."),
    "launches": ("by", "Launchers that vouched, by what their tree is known by: cgroup or parent chain."),
    "fabric_updates": ("", "Updates of fabrics and their members that the server pushed."),
    "fabric_changes": ("", "Changes of what the node holds of a fabric."),
    "fabric_failures": ("what", "Fabrics that the node does not hold as they are to be: restore or apply."),
    "fabric_joins": ("what", "Workloads that were admitted to a job on a fabric, and streams for it that ended."),
    "sds_nacks": ("", "Secrets that a proxy refused."),
    "storage_failures": ("", "Times that the state could not be kept."),
    "errors": ("type", "Unexpected errors."),
}


def routes(
    cache: Callable[[], Cache | None], unready: Callable[[], str], watches: Callable[[], Watches | None]
) -> Routes:
    """/live, /ready, /metrics and /version."""

    def ready() -> Page:
        why = unready()
        return Page(503, f"not ready: {why}\n".encode()) if why else Page(200, b"ready\n")

    return {
        "/live": lambda: Page(200, b"live\n"),
        "/ready": ready,
        "/metrics": lambda: _metrics(cache(), watches()),
        "/version": lambda: Page(200, json.dumps({"version": VERSION}).encode() + b"\n", JSON),
    }


class _Counts:
    """A collector that reads the counters when it is asked."""

    def __init__(self, cache: Cache | None, watches: Watches | None) -> None:
        self._cache = cache
        self._watches = watches

    def collect(self) -> Iterator[Any]:
        """Every family, in a fixed order."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # as in _metrics

        for name, (label, text) in _HELP.items():
            family = CounterMetricFamily(f"ringfence_agent_{name}", text, labels=[label] if label else [])
            for (counted, value), count in sorted(events.COUNTS.items()):
                if counted == name:
                    family.add_metric([value] if label else [], count)
            yield family
        gauges = {"streams": ("Open Workload API and SDS streams.", len(self._watches or ()))}
        if self._watches is not None:
            told = self._watches.callers.holders.are_told_of
            gauges["process_events"] = (
                "Whether the kernel tells of callers that change; 0: a look every second.",
                told,
            )
        if self._cache is not None:
            gauges["entries"] = ("Entries that this node may serve.", len(self._cache.book))
            gauges["svids_held"] = ("X.509-SVIDs held for workloads.", len(self._cache.svids))
        for name, (text, number) in gauges.items():
            yield GaugeMetricFamily(f"ringfence_agent_{name}", text, value=number)


def _metrics(cache: Cache | None, watches: Watches | None) -> Page:
    # 60 ms of import that a start need not wait for.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Counts(cache, watches))
    return Page(200, generate_latest(registry), CONTENT_TYPE_LATEST)
