"""Tables of RAS, nccl-tests, sysfs, ethtool, rdma, nstat, ss, conntrack, ip and AWS, each as its tool prints it."""

from __future__ import annotations

import json

from ringfence.fabric.doctor.conntrack import Way, flows
from ringfence.fabric.doctor.ethtool import nic
from ringfence.fabric.doctor.nccl_tests import nccl_tests
from ringfence.fabric.doctor.nstat import nstat
from ringfence.fabric.doctor.ras import ras
from ringfence.fabric.doctor.rdma_tool import links, shared_namespaces, statistics
from ringfence.fabric.doctor.routes import interfaces, neighbours, routes
from ringfence.fabric.doctor.security_groups import security_groups
from ringfence.fabric.doctor.ss import sockets
from ringfence.fabric.doctor.sysfs import ports
from tests.fabric.doctor import samples


def test_ras_as_text():
    """A fault is named on its own line; the version and the column of errors are none."""
    told = ras(samples.RAS_TEXT, "ras.txt")
    assert told.version == "2.27.3"
    assert [(one.line, one.kind, one.communicator, one.lost) for one in told.faults] == [
        (12, "DEAD", "", True),
        (15, "INCOMPLETE", "#0-0 (1f2e3d4c5b6a7988)", True),
        (21, "TIMEOUT", "", False),
    ]


def test_ras_as_json():
    """Ranks that gave no data, and one that reports an error."""
    told = ras(samples.RAS_JSON, "ras.json")
    assert [(one.kind, one.communicator, one.detail) for one in told.faults] == [
        ("INCOMPLETE", "0xabc", "1 of 4 ranks gave no data"),
        ("ERROR", "0xabc", "rank 2 reports an error"),
    ]


def test_nccl_tests_as_a_table():
    """The better half counts, wrong values of both; mpirun's prefix and `-I` columns are borne."""
    run = nccl_tests(samples.TESTS, "t")
    assert (run.average, run.average_line, run.wrong, run.wrong_line) == (4.1234, 7, 2, 6)
    assert [(row.line, row.size, row.bus, row.wrong) for row in run.rows] == [
        (4, 1024, 0.10, 0),
        (5, 134217728, 8.20, 2),
    ]
    wide = "[1,0]<stdout>: 8 2 float sum -1 1.0 1.0 2.0 0 1 2 3 4 1.0 1.0 3.0 1 1 2 3 4"
    assert [(row.bus, row.wrong) for row in nccl_tests(wide, "t").rows] == [(3.0, 1)]


def test_nccl_tests_as_json():
    """`-J` names the average and the wrong values."""
    run = nccl_tests(
        '{"out_of_bounds": {"count": 3, "okay": false}, "average_bus_bandwidth": {"bandwidth": 225.1}}', "t"
    )
    assert (run.wrong, run.average) == (3, 225.1)


def test_ports_of_sysfs():
    """Empty GIDs and keys are left out, counters that are no numbers too."""
    (port,) = ports(samples.SYSFS)
    assert (port.name, port.active, port.rate, port.link_layer) == ("mlx5_0:1", True, 200.0, "Ethernet")
    assert (port.gids, port.keys) == (("0000:0000:0000:0000:0000:ffff:0a5b:0001",), ("0xffff",))
    assert port.interfaces == ("fab0",)
    assert dict(port.counters) == {"port_xmit_data": 5000, "out_of_sequence": 9}
    assert port.paths["out_of_sequence"].endswith("/hw_counters/out_of_sequence")


def test_a_folder_that_was_copied_is_read_alike():
    """`--sysfs DIR` names files below any folder."""
    assert ports({f"copy{path}": text for path, text in samples.SYSFS.items()})[0].name == "mlx5_0:1"


def test_statistics_of_a_nic():
    """Pause frames are counted, their duration is not; a driver without RDMA's counters says so."""
    one = nic(samples.ETHTOOL, "fab0", "e")
    assert (one.socket_bytes, one.rdma_bytes, one.pauses) == (3000, 70, 0)
    assert one.lines["tx_vport_unicast_bytes"] == 3
    veth = nic("NIC statistics:\n     peer_ifindex: 3\n", "fab0", "e")
    assert (veth.socket_bytes, veth.rdma_bytes, veth.pauses) == (None, None, None)


def test_rdma():
    """Links with their network device, counters by name, and how namespaces see devices."""
    assert [(one.device, one.port, one.interface) for one in links(samples.RDMA_LINK)] == [("mlx5_0", 1, "fab0")]
    assert dict(statistics(samples.RDMA_STATISTIC)[0].counters) == {"out_of_sequence": 4, "rx_write_requests": 5}
    assert shared_namespaces('[{"netns": "shared"}]') is True
    assert shared_namespaces('[{"netns": "exclusive"}]') is False
    assert shared_namespaces("Failed to open NETLINK_RDMA socket") is None


def test_nstat_in_both_forms():
    """A table with lines, or JSON."""
    table = nstat(samples.NSTAT, "n")
    assert (table.counters["TcpRetransSegs"], table.lines["TcpRetransSegs"]) == (25000, 3)
    assert nstat('{"kernel": {"TcpOutSegs": 7, "Odd": "x"}}', "n").counters == {"TcpOutSegs": 7}


def test_sockets():
    """Owner and figures belong to the socket above; IPv6 in brackets, with a zone, mapped."""
    listener, proxy, local, mapped = sockets(samples.SS, "s").found
    assert (listener.state, listener.local, listener.local_port, listener.owner) == ("LISTEN", "*", 29500, "python3")
    assert (proxy.line, proxy.owner, proxy.pid, proxy.uid) == (3, "envoy", 7, 1337)
    assert (proxy.rtt, proxy.mss, proxy.pmtu, proxy.retransmitted, proxy.sent) == (2.5, 1388, 1450, 17, 99)
    assert (local.local, local.interface, local.peer) == ("fe80::1", "fab0", "fe80::2")
    assert (mapped.peer, mapped.rtt, mapped.pmtu) == ("::ffff:10.91.0.3", 0.05, 9000)


def test_flows():
    """Only the first one is answered by another than was called."""
    found = flows(samples.CONNTRACK, "c").found
    assert [(one.protocol, one.redirected) for one in found] == [("tcp", True), ("udp", False), ("icmp", False)]
    assert found[0].reply == Way("127.0.0.1", "10.91.0.1", 15001, 41000)


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


def test_security_groups():
    """Everything to everywhere is no rule for EFA."""
    (group,) = security_groups(samples.GROUPS, "g")
    assert (group.id, group.egress_to_itself, group.ingress_from_itself) == ("sg-1", False, True)
