"""Statistics of a NIC."""

from __future__ import annotations

from ringfence.fabric.doctor.ethtool import nic
from tests.fabric.doctor import samples


def test_statistics_of_a_nic():
    """Pause frames are counted, their duration is not; a driver without RDMA's counters says so."""
    one = nic(samples.ETHTOOL, "fab0", "e")
    assert (one.socket_bytes, one.rdma_bytes, one.pauses) == (3000, 70, 0)
    assert one.lines["tx_vport_unicast_bytes"] == 3
    veth = nic("NIC statistics:\n     peer_ifindex: 3\n", "fab0", "e")
    assert (veth.socket_bytes, veth.rdma_bytes, veth.pauses) == (None, None, None)
