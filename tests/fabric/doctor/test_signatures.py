"""Every signature: recorded evidence that shows it, and the same evidence without the fault, which shows nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.doctor.diagnose import SIGNS, diagnose
from ringfence.fabric.doctor.evidence import Declared
from ringfence.fabric.doctor.gather import Text, gather
from ringfence.fabric.doctor.signatures import SIGNATURES, WAYS
from ringfence.policy.findings import Finding
from tests.fabric.doctor import samples
from tests.fabric.doctor.rulesets import REDIRECT, RETURN, iface, proto, ruleset

FABRIC = Declared(("fab0",), ("ctl0",), tuple(n for n in [network("10.91.0.0/24")] if n), 9000)
PORT = samples.PORT
ACTIVE = {f"{PORT}/state": "4: ACTIVE", f"{PORT}/rate": "200 Gb/sec (4X HDR)"}
HEAD = "gpu-a:1:2 [0] NCCL INFO "


def found(code: str, *texts: Text, declared: Declared = FABRIC, **files: dict[str, str]) -> list[Finding]:
    """What the signature of *code* finds in *texts* and *files*."""
    evidence = gather(declared, texts, files.get("files", {}), files.get("before", {}))
    return [one for one in diagnose(evidence).findings if one.code == code]


def log(*messages: str) -> Text:
    """A log of NCCL, a message a line."""
    return Text("nccl-log", "nccl.log", "".join(f"{HEAD}{message}\n" for message in messages))


def test_the_table_is_whole():
    """A function a code, a code for each number of the list, and one of the three ways where it proves one."""
    assert list(SIGNS) == list(SIGNATURES) == [f"RF60{number:02}" for number in range(1, 20)]
    assert {known.way for known in SIGNATURES.values()} == {"", *WAYS}


def test_what_is_a_sign_of_a_threat_says_so():
    """By our id and those of others; what is merely slow is none."""
    (hit,) = found("RF6011", Text("nft", "nft.json", ruleset([REDIRECT])))
    assert hit.threats == ("FAB-04", "AML.T0029")
    proofs = [known.threat for known in SIGNATURES.values() if known.way]
    assert set(proofs) == {"FAB-04"}
    assert SIGNATURES["RF6013"].threat == ""


def test_every_code_is_shown_by_a_test_here():
    """Evidence that shows it is the only proof that it works."""
    shown = set(re.findall(r"found\(\s*\"(RF60\d\d)\"", Path(__file__).read_text()))
    assert shown == set(SIGNATURES)


def test_1_sockets_although_ports_are_active():
    """With the port's name; without an active port sockets are all there is."""
    text = log("Using network Socket", "Channel 00 : 0 -> 1 via NET/Socket/0", "NET/IB : No device found.")
    hits = found("RF6001", text, files=ACTIVE)
    assert [(one.path, one.line) for one in hits] == [("nccl.log", 1), ("nccl.log", 2), ("nccl.log", 3)]
    assert "mlx5_0:1" in hits[0].message
    assert not found("RF6001", text, files={f"{PORT}/state": "1: DOWN"})
    assert not found("RF6001", log("Using network IB"), files=ACTIVE)


def test_1_by_the_log_alone():
    """NCCL named a device and took sockets all the same."""
    assert found("RF6001", log("NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB ctl0:10.90.0.1<0>", "Using network Socket"))


def test_2_an_interface_that_nobody_declared():
    """Bootstrap may use the control interface, data over sockets may not; a device of RDMA is no interface."""
    assert [one.line for one in found("RF6002", log("Bootstrap: Using eth9:172.17.0.2<0>"))] == [1]
    assert not found("RF6002", log("Bootstrap: Using ctl0:10.90.0.1<0>", "NET/IB : Using [0]mlx5_1:1/IB [RO]"))
    assert not found("RF6002", log("NET/IB : Using [0]mlx5_1:1/IB [RO]", "Bootstrap: Using mlx5_1:1"))
    data = ("NET/Socket : Using [0]ctl0:10.90.0.1<0>", "Using network Socket")
    assert [one.line for one in found("RF6002", log(*data))] == [1]
    assert not found("RF6002", log(data[0], "Using network IB"))
    assert not found("RF6002", log("Bootstrap: Using eth9:172.17.0.2<0>"), declared=Declared())


def test_2_gloo_that_calls_itself():
    """GLOO_SOCKET_IFNAME unset, and a hostname that resolves to loopback."""
    assert [one.line for one in found("RF6002", Text("nccl-log", "x", samples.OLD_LOG)) if "gloo" in one.message] == [9]


def test_3_no_channel_is_direct():
    """One that is direct shows that it can be; sockets never are."""
    slow = "Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0"
    off = "NET/IB : GPU Direct RDMA Disabled for HCA 0 'mlx5_0'"
    assert "line 1 says" in found("RF6003", log(off, slow))[0].message
    assert not found("RF6003", log(slow, f"{slow}/GDRDMA"))
    assert not found("RF6003", log("Channel 00 : 0 -> 1 via NET/Socket/0"))


def ethtool(rdma: int, sockets: int, *, first: bool = False, pause: str = "") -> Text:
    """The statistics of fab0."""
    lines = f"     tx_vport_unicast_bytes: {sockets}\n     tx_vport_rdma_unicast_bytes: {rdma}\n{pause}"
    return Text("ethtool", "ethtool", f"NIC statistics:\n{lines}", "fab0", first)


def test_4_bytes_that_go_by_sockets():
    """By growth; a NIC that once moved RDMA says nothing without a first sample."""
    big = 10**9
    assert found("RF6004", ethtool(5, 2, first=True), ethtool(5, big))[0].line == 2
    assert not found("RF6004", ethtool(5, 2, first=True), ethtool(big, big))
    assert not found("RF6004", ethtool(5, 2, first=True), ethtool(5, 1000))
    assert found("RF6004", ethtool(0, big))
    assert not found("RF6004", ethtool(5, big))


def test_5_a_gateway_to_a_peer():
    """By the route, or by one MAC that answers for two peers; other networks may have gateways."""
    assert found("RF6005", Text("route", "r", "10.91.0.2 via 10.91.0.254 dev fab0 src 10.91.0.1\n"))[0].line == 1
    assert not found("RF6005", Text("route", "r", "10.91.0.2 dev fab0 src 10.91.0.1\n"))
    assert not found("RF6005", Text("route", "r", "8.8.8.8 via 10.90.0.254 dev ctl0 src 10.90.0.1\n"))
    near = "10.91.0.2 dev fab0 lladdr 02:00:00:00:00:01 REACHABLE\n"
    assert found("RF6005", Text("neigh", "n", near + near.replace("0.2 ", "0.3 ")))
    assert not found("RF6005", Text("neigh", "n", near + near.replace("0.2 ", "0.3 ").replace(":01", ":02")))
    assert not found("RF6005", Text("neigh", "n", (near + near.replace("0.2 ", "0.3 ")).replace("10.91", "10.90")))


def failure(local: str, remote: str, status: str = "IBV_WC_RETRY_EXC_ERR(12)") -> str:
    """A completion in error."""
    return f"NET/IB: Got completion from peer 10.91.0.2<1> with status={status} localGid {local} remoteGids {remote}"


def test_6_gids_of_two_networks():
    """By NCCL's own prefix, of 24 bits unless it was set; link-local GIDs say nothing."""
    apart = failure("::ffff:10.91.0.1", "::ffff:10.91.1.2")
    assert found("RF6006", log(apart))[0].line == 1
    assert not found("RF6006", log(failure("::ffff:10.91.0.1", "::ffff:10.91.0.2")))
    assert not found("RF6006", log("NCCL_IB_SUBNET_AWARE_ROUTING set by environment to 1.", apart))
    assert not found("RF6006", log("NCCL_IB_SUBNET_PREFIX_LEN set by environment to 16.", apart))
    assert not found("RF6006", log(failure("fe80::1", "fe80::2:0:0:1")))
    assert found("RF6006", log(failure("fd00:1::1", "fd00:2::1")))


def ss(figures: str, peer: str = "10.91.0.2:5000", owner: str = "python3") -> Text:
    """One connection of the fabric."""
    return Text("ss", "ss", f'ESTAB 0 0 10.91.0.1:4000 {peer} users:(("{owner}",pid=7,fd=3))\n\t cubic {figures}\n')


def test_7_packets_smaller_than_the_fabric():
    """By path MTU or by mss; headers explain a little; the control network may be small."""
    assert "pmtu 1450" in found("RF6007", ss("mss:1388 pmtu:1450"))[0].message
    assert "mss 1448" in found("RF6007", ss("mss:1448"))[0].message
    assert not found("RF6007", ss("mss:8948 pmtu:9000"))
    assert not found("RF6007", ss("mss:1448 pmtu:1500", peer="10.90.0.2:5000"))
    told = json.dumps([{"ifname": "fab0", "mtu": 9000, "addr_info": [{"local": "10.91.0.1", "prefixlen": 24}]}])
    assert found("RF6007", ss("mss:1448"), Text("addr", "a", told), declared=Declared(("fab0",)))
    assert not found("RF6007", ss("mss:1448"), declared=Declared(("fab0",), (), FABRIC.networks))
    assert not found("RF6007", ss("mss:65483 pmtu:65535"), declared=replace(FABRIC, mtu=65536))


def counters(**values: int) -> dict[str, str]:
    """Files of sysfs, whichever of its two folders has them."""
    return {f"{PORT}/hw_counters/{name}": f"{value}\n" for name, value in values.items()}


def test_8_acknowledgements_that_never_come():
    """They grow while the port sends; an old number that stands still is history."""
    grown = counters(local_ack_timeout_err=9, port_xmit_data=100)
    hit = found("RF6008", files=grown, before=counters(local_ack_timeout_err=2, port_xmit_data=50))[0]
    assert (hit.path, hit.line) == (f"{PORT}/hw_counters/local_ack_timeout_err", 1)
    assert "grew by 7 since the first sample" in hit.message
    assert "since boot" in found("RF6008", files=grown)[0].message
    assert not found("RF6008", files=grown, before=grown)
    assert not found("RF6008", files=counters(local_ack_timeout_err=9, port_xmit_data=0))


@pytest.mark.parametrize("name", ["port_rcv_constraint_errors", "port_rcv_contraint_errors"])
def test_8_a_partition_key_that_does_not_fit(name: str):
    """By either spelling of the kernel's."""
    assert "partition" in found("RF6008", files=counters(**{name: 3}))[0].message


def test_8_by_the_log():
    """Status 12 in both dialects; another status is another story."""
    for status in ("IBV_WC_RETRY_EXC_ERR(12)", "IBV_WC_RETRY_EXC_ERR", "12"):
        assert found("RF6008", log(failure("a", "b", status)))[0].line == 1
    assert not found("RF6008", log(failure("a", "b", "IBV_WC_WR_FLUSH_ERR(5)")))


def test_9_loss_without_pauses():
    """Both counters grow; a NIC that paused is lossless."""
    grown = counters(out_of_sequence=5, packet_seq_err=4)
    assert "not known" in found("RF6009", files=grown)[0].message
    assert (
        "no priority paused" in found("RF6009", ethtool(1, 1, pause="     rx_prio3_pause: 0\n"), files=grown)[0].message
    )
    assert not found("RF6009", ethtool(1, 1, pause="     rx_prio3_pause: 8\n"), files=grown)
    assert not found("RF6009", files=counters(out_of_sequence=5, packet_seq_err=0))


def test_9_by_the_rdma_tool():
    """Where there is no sysfs to read."""
    told = json.dumps([{"ifname": "mlx5_0", "port": 1, "out_of_sequence": 5, "packet_seq_err": 4}])
    assert found("RF6009", Text("rdma-statistic", "rdma.json", told))[0].path == "rdma.json"


def test_10_packets_that_were_rewritten():
    """Any at all."""
    assert found("RF6010", files=counters(rx_icrc_encapsulated=1))
    assert not found("RF6010", files=counters(rx_icrc_encapsulated=0))


def test_11_capture_by_rules():
    """No traffic is needed to see it."""
    hits = found("RF6011", Text("nft", "nft", ruleset([proto("tcp"), REDIRECT])))
    assert "port 15001" in hits[0].message
    other = replace(FABRIC, interfaces=("rail7",))
    assert 'oifname "rail7" return' in found("RF6011", Text("nft", "n", ruleset([REDIRECT])), declared=other)[0].hint
    assert not found("RF6011", Text("nft", "nft", ruleset([iface("fab0"), RETURN], [proto("tcp"), REDIRECT])))


def test_11_capture_by_sockets():
    """A proxy with a socket on the fabric, by name or by Istio's user."""
    assert found("RF6011", ss("rtt:1/1", owner="envoy"))
    assert found("RF6011", Text("ss", "ss", "ESTAB 0 0 10.91.0.1:1 10.91.0.2:2 uid:1337 ino:5 sk:6\n"))
    assert not found("RF6011", ss("rtt:1/1"))
    assert not found("RF6011", Text("ss", "ss", 'ESTAB 0 0 10.90.0.1:1 10.90.0.2:2 users:(("envoy",pid=7,fd=3))\n'))


def test_11_capture_by_tracked_connections():
    """Whoever answers is not who was called; the control network's connections may be turned round."""
    assert [one.line for one in found("RF6011", Text("conntrack", "c", samples.CONNTRACK))] == [1]
    assert not found("RF6011", Text("conntrack", "c", samples.CONNTRACK.replace("10.91", "10.92")))


def test_12_nics_that_share_a_network():
    """The kernel takes the larger of `all` and the interface's own; NICs of networks of their own need none of it."""
    told = [{"ifname": name, "addr_info": [{"local": at, "prefixlen": 24}]} for name, at in
            (("fab0", "10.91.0.1"), ("fab1", "10.91.0.2"))]  # fmt: skip
    conf = "/proc/sys/net/ipv4/conf"
    bad = {f"{conf}/fab0/arp_ignore": "0\n", f"{conf}/fab0/rp_filter": "1\n", f"{conf}/all/arp_ignore": "0\n"}
    assert [one.path for one in found("RF6012", Text("addr", "a", json.dumps(told)), files=bad)] == [
        f"{conf}/fab0/rp_filter",
        f"{conf}/fab0/arp_ignore",
    ]
    good = {**bad, f"{conf}/all/arp_ignore": "1\n", f"{conf}/all/rp_filter": "2\n"}
    assert not found("RF6012", Text("addr", "a", json.dumps(told)), files=good)
    told[1]["addr_info"] = [{"local": "10.91.1.2", "prefixlen": 24}]
    assert not found("RF6012", Text("addr", "a", json.dumps(told)), files=bad)


def test_13_what_measurements_say():
    """A slow peer, segments sent again, wrong values, half a link's rate, ranks that RAS misses."""
    assert "2.5 ms" in found("RF6013", ss("rtt:2.5/1"))[0].message
    assert not found("RF6013", ss("rtt:0.1/0.1"))
    assert found("RF6013", Text("nstat", "n", samples.NSTAT))[0].line == 3
    assert not found("RF6013", Text("nstat", "n", samples.NSTAT.replace("25000", "25")))
    assert not found("RF6013", Text("nstat", "n", samples.NSTAT), Text("nstat", "n", samples.NSTAT, first=True))
    assert [one.line for one in found("RF6013", Text("nccl-tests", "t", samples.TESTS), files=ACTIVE)] == [6, 5]
    assert [one.line for one in found("RF6013", Text("nccl-tests", "t", samples.TESTS))] == [6]
    assert [one.line for one in found("RF6013", Text("ras", "r", samples.RAS_TEXT))] == [12, 15]


LISTENER = 'LISTEN 0 128 {} 0.0.0.0:* users:(("{}",pid=42,fd=9))\n'


def test_14_a_store_that_the_fabric_reaches():
    """A wildcard is on the fabric too; a proxy asks for a certificate, the control address is elsewhere."""
    for at in ("0.0.0.0:29500", "*:29500", "[::]:29500", "10.91.0.1:29500", "0.0.0.0%fab0:29500"):
        assert found("RF6014", Text("ss", "ss", LISTENER.format(at, "python3")))
    for at in ("10.90.0.1:29500", "0.0.0.0:40001", "0.0.0.0%ctl0:29500"):
        assert not found("RF6014", Text("ss", "ss", LISTENER.format(at, "python3")))
    assert not found("RF6014", Text("ss", "ss", LISTENER.format("0.0.0.0:29500", "envoy")))
    assert not found("RF6014", Text("ss", "ss", LISTENER.format("0.0.0.0:29500", "python3")), declared=Declared())


def test_15_devices_that_tenants_share():
    """One tenant may; exclusive namespaces do not."""
    shared = Text("rdma-system", "rdma", '[{"netns": "shared"}]')
    assert found("RF6015", shared, declared=Declared(tenants=2))
    assert not found("RF6015", shared, declared=Declared(tenants=1))
    assert not found("RF6015", Text("rdma-system", "rdma", '[{"netns": "exclusive"}]'), declared=Declared(tenants=2))


def test_16_a_group_that_does_not_let_itself_out():
    """Everything to 0.0.0.0/0 is not it."""
    assert "no egress to itself" in found("RF6016", Text("security-groups", "g", samples.GROUPS))[0].message
    whole = json.loads(samples.GROUPS)
    whole["SecurityGroups"][0]["IpPermissionsEgress"] = whole["SecurityGroups"][0]["IpPermissions"]
    assert not found("RF6016", Text("security-groups", "g", json.dumps(whole)))


def test_17_somebody_else_knocked():
    """Once an address, however often."""
    knock = "socketFinalizeAccept from 10.91.0.77<{}>: socket magic mismatch (peer 0x1 != expected 0x2), discarding"
    hits = found("RF6017", log(knock.format(1), knock.format(2)))
    assert [one.line for one in hits] == [1]
    assert "10.91.0.77" in hits[0].message


def test_18_a_port_that_may_reach_everybody():
    """A limited member may not, and of RoCE the key says nothing."""
    files = {f"{PORT}/link_layer": "InfiniBand", f"{PORT}/pkeys/0": "0xffff", f"{PORT}/pkeys/1": "0x8012"}
    (hit,) = found("RF6018", files=files)
    assert (hit.path, hit.threats[0]) == (f"{PORT}/pkeys", "FAB-03")
    assert not found("RF6018", files={**files, f"{PORT}/pkeys/0": "0x7fff"})
    assert not found("RF6018", files={**files, f"{PORT}/link_layer": "Ethernet"})


def test_19_who_may_open_what_the_subnet_manager_opens():
    """Root alone; the devices of verbs are everybody's."""
    told = "600 /dev/infiniband/issm0\n660 /dev/infiniband/umad0\n666 /dev/infiniband/uverbs0\n602 umad1\nx\n"
    hits = found("RF6019", Text("rdma-devices", "d", told))
    assert [(one.line, one.message) for one in hits] == [
        (2, "/dev/infiniband/umad0 has mode 0660"),
        (4, "/dev/infiniband/umad1 has mode 0602"),
    ]
    assert hits[0].threats[0] == "FAB-03"
    assert not found("RF6019", Text("rdma-devices", "d", told.replace("660", "600").replace("602", "400")))
