"""Routes, neighbours and interfaces, in both forms of ip."""

from __future__ import annotations

import json

from ringfence.fabric.doctor.routes import interfaces, neighbours, routes


def test_routes_in_both_forms():
    """A gateway is told in either; one of the other family stands in an object."""
    text = (
        "10.91.0.2 via 10.91.0.254 dev fab0 src 10.91.0.1 uid 0 \n    cache\n10.91.0.3 dev fab0 src 10.91.0.1 uid 0\n"
    )
    assert [(one.line, one.destination, one.gateway, one.interface) for one in routes(text, "r")] == [
        (1, "10.91.0.2", "10.91.0.254", "fab0"),
        (3, "10.91.0.3", "", "fab0"),
    ]
    told = [
        {"dst": "10.91.0.2", "gateway": "10.91.0.254", "dev": "fab0"},
        {"dst": "10.9.0.1", "via": {"host": "fe80::1"}},
    ]
    assert [one.gateway for one in routes(json.dumps(told), "r")] == ["10.91.0.254", "fe80::1"]


def test_neighbours_in_both_forms():
    """One without a MAC address is none."""
    assert [one.mac for one in neighbours("10.91.0.2 dev fab0 lladdr 02:AA:00:00:00:01 REACHABLE\n", "n")] == [
        "02:aa:00:00:00:01"
    ]
    told = [{"dst": "10.91.0.2", "dev": "fab0", "lladdr": "02:aa:00:00:00:01"}, {"dst": "10.91.0.3", "dev": "fab0"}]
    assert [one.address for one in neighbours(json.dumps(told), "n")] == ["10.91.0.2"]


def test_interfaces():
    """Addresses keep the length of their network."""
    told = [{"ifname": "fab0", "mtu": 9000, "addr_info": [{"local": "10.91.0.1", "prefixlen": 24}, {"local": "x"}]}]
    (one,) = interfaces(json.dumps(told))
    assert (one.name, one.mtu, one.addresses) == ("fab0", 9000, ("10.91.0.1/24",))
