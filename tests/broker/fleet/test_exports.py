"""The fleet's metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from ringfence.broker.fleet.exports import FleetMetrics
from tests.broker.fleet.world import FakeProxy, fleet_of


async def test_pushes_answers_and_states_are_counted() -> None:
    """Read at the time of looking; without a fleet there is nothing to see."""
    metrics, registry = FleetMetrics(), CollectorRegistry()
    registry.register(metrics)
    assert generate_latest(registry) == b""
    fleet = await fleet_of()
    metrics.follow(fleet)
    await FakeProxy(fleet, "team-a/trainer").start()
    bad = FakeProxy(fleet, "team-b/notebook")
    bad.refuses = "team-b/notebook"
    await bad.start()

    text = generate_latest(registry).decode()

    assert "ringfence_xds_compiles_total 2.0" in text
    assert "ringfence_xds_nacks_total 1.0" in text
    assert f"ringfence_xds_pushes_total {float(fleet.counts.pushes)}" in text
    assert 'ringfence_proxies{state="synced"} 1.0' in text
    assert 'ringfence_proxies{state="nack"} 1.0' in text
