"""The /metrics page: what is counted as it happens, and what the fleet and the evidence count themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from ringfence.broker import metrics
from ringfence.broker.fabric.members import APPLIED, FAILED, PENDING
from ringfence.broker.server.parts import Parts
from ringfence.broker.version import VERSION


class _Parts:
    """Reads the parts of one server when the page is asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Every family, with its values now."""
        fleet = self._parts.proxies.fleet
        proxies = GaugeMetricFamily("ringfence_xds_proxies", "Connected proxies by state.", labels=["state"])
        for state, count in Counter(proxy.state for proxy in fleet.list_proxies()).items():
            proxies.add_metric([state], count)
        yield proxies
        answers = CounterMetricFamily("ringfence_xds_push", "Answers of proxies to pushes.", labels=["result"])
        answers.add_metric(["ack"], fleet.counts.acks)
        answers.add_metric(["nack"], fleet.counts.nacks)
        yield answers
        yield CounterMetricFamily("ringfence_xds_sent", "Responses sent to proxies.", value=fleet.counts.pushes)
        yield CounterMetricFamily("ringfence_xds_compiles", "Snapshots compiled.", value=fleet.counts.compiles)
        yield GaugeMetricFamily("ringfence_entries", "Registration entries.", value=len(self._parts.registry))
        members = self._parts.admitting.members
        yield GaugeMetricFamily(
            "ringfence_fabric_members", "Claims that stand.", value=len(members.view.judged.standing)
        )
        nodes = GaugeMetricFamily("ringfence_fabric_nodes", "Nodes that keep fabrics, by state.", labels=["state"])
        for state in (APPLIED, PENDING, FAILED):
            nodes.add_metric([state], sum(node.state == state for node in members.nodes.values()))
        yield nodes
        evidence = GaugeMetricFamily("ringfence_evidence", "What the evidence receiver counts.", labels=["what"])
        for name, value in self._parts.evidence.evidence.counters().items():
            evidence.add_metric([name], value)
        yield evidence


def page_of(parts: Parts | None) -> bytes:
    """The page in Prometheus' text form; None while the parts are loading."""
    metrics.BUILD.labels(VERSION).set(1)
    page = generate_latest(metrics.REGISTRY)
    if parts is not None:
        own = CollectorRegistry()
        own.register(_Parts(parts))
        page += generate_latest(own)
    return page
