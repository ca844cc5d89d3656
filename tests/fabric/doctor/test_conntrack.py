"""Tracked connections, and who turned them round."""

from __future__ import annotations

from ringfence.fabric.doctor.conntrack import Way, flows
from tests.fabric.doctor import samples


def test_flows():
    """Only the first one is answered by another than was called."""
    found = flows(samples.CONNTRACK, "c").found
    assert [(one.protocol, one.redirected) for one in found] == [("tcp", True), ("udp", False), ("icmp", False)]
    assert found[0].reply == Way("127.0.0.1", "10.91.0.1", 15001, 41000)
