"""What the rdma tool prints."""

from __future__ import annotations

from ringfence.fabric.doctor.rdma_tool import links, shared_namespaces, statistics
from tests.fabric.doctor import samples


def test_rdma():
    """Links with their network device, counters by name, and how namespaces see devices."""
    assert [(one.device, one.port, one.interface) for one in links(samples.RDMA_LINK)] == [("mlx5_0", 1, "fab0")]
    assert dict(statistics(samples.RDMA_STATISTIC)[0].counters) == {"out_of_sequence": 4, "rx_write_requests": 5}
    assert shared_namespaces('[{"netns": "shared"}]') is True
    assert shared_namespaces('[{"netns": "exclusive"}]') is False
    assert shared_namespaces("Failed to open NETLINK_RDMA socket") is None
