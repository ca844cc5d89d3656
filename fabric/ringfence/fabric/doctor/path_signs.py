"""Signs of what lies between two nodes, codes 4, 5 and 7 to 10: counters of ports and NICs, routes, packet sizes."""

from __future__ import annotations

from collections import defaultdict

from ringfence.fabric.doctor.evidence import Evidence, Grown
from ringfence.fabric.doctor.signatures import Findings, found
from ringfence.policy.findings import Finding

MOVED = 64 * 1024 * 1024  # bytes that are a collective's and no chatter
# IPv4 or IPv6 and TCP headers with options: an mss lies that far below the packet's size.
HEADERS = 100
RETRY_EXCEEDED = {"12", "IBV_WC_RETRY_EXC_ERR"}
_MAC_OF_NONE = {"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"}


def not_bypassing(evidence: Evidence) -> Findings:
    """4: judged by two samples; since boot only where RDMA never moved a byte."""
    for nic in evidence.nics:
        first = evidence.first_nic(nic.interface)
        rdma, sockets = nic.rdma_bytes, nic.socket_bytes
        if rdma is None or sockets is None:
            continue
        if first is not None:
            rdma, sockets = rdma - (first.rdma_bytes or 0), sockets - (first.socket_bytes or 0)
        if sockets >= MOVED and rdma * 100 < sockets and (first is not None or rdma == 0):
            since = "the first sample" if first is not None else "boot"
            told = f"{nic.interface} moved {sockets} bytes of sockets and {rdma} of RDMA since {since}"
            yield found("RF6004", nic.path, nic.lines.get("tx_vport_unicast_bytes", 1), told)


def through_gateway(evidence: Evidence) -> Findings:
    """5: a route with a gateway to the fabric, one MAC for several peers, or a peer that one hop does not reach."""
    for route in evidence.routes:
        fabric = route.interface in evidence.declared.interfaces or evidence.on_fabric(route.destination)
        if route.gateway and fabric:
            told = f"{route.destination} is reached via {route.gateway} dev {route.interface}"
            yield found("RF6005", route.path, route.line, told)
    yield from _one_mac(evidence)
    for probe in evidence.probes:
        if probe.direct is False:
            told = f"{probe.peer} answers, and not to packets that may cross no router (hop limit 1)"
            yield found("RF6005", probe.path, 1, told)


def _one_mac(evidence: Evidence) -> Findings:
    answering = defaultdict(list)
    for one in evidence.neighbours:
        if one.mac not in _MAC_OF_NONE and evidence.on_fabric(one.address):
            answering[one.interface, one.mac].append(one)
    for (interface, mac), peers in answering.items():
        addresses = sorted({one.address for one in peers})
        if len(addresses) > 1:
            told = f"{mac} on {interface} answers for {len(addresses)} peers: {', '.join(addresses[:4])}"
            yield found("RF6005", peers[0].path, peers[0].line, told)


def small_packets(evidence: Evidence) -> Findings:
    """7: the path's MTU that the kernel learnt, or an mss that no header explains; once a peer."""
    mtu, told_of = evidence.mtu(), set()
    for sockets in evidence.sockets if mtu else ():
        for one in sockets.found:
            if not evidence.on_fabric(one.peer) or one.peer in told_of:
                continue
            small = f"pmtu {one.pmtu}" if one.pmtu and one.pmtu < mtu else ""
            if one.mss and one.mss + HEADERS < mtu and not small:
                small = f"mss {one.mss}"
            if small:
                told_of.add(one.peer)
                yield found("RF6007", sockets.path, one.line, f"{small} to {one.peer}, where the fabric has MTU {mtu}")
    for probe in evidence.probes if mtu else ():
        if probe.largest is not None and probe.largest < mtu:
            told = f"packets of {probe.largest} bytes reach {probe.peer} whole, where the fabric has MTU {mtu}"
            yield found("RF6007", probe.path, 1, f"{told}, and larger ones do not")


def dropped(evidence: Evidence) -> Findings:
    """8: acknowledgements that never came, packets outside a partition, or requests that NCCL gave up."""
    sent = {port.name: grown.by for port, grown in evidence.port_counters("port_xmit_data")}
    for name in ("local_ack_timeout_err", "req_transport_retries_exceeded"):
        for port, grown in evidence.port_counters(name):
            if grown.by > 0 and sent.get(port.name, 1) > 0:
                yield _of(grown, "RF6008", "while it sends")
    for name in ("port_rcv_constraint_errors", "port_rcv_contraint_errors", "port_xmit_constraint_errors"):
        for _, grown in evidence.port_counters(name):
            if grown.by > 0:
                yield _of(grown, "RF6008", "a partition check or raw filter of the port dropped them")
    for log in evidence.logs:
        for failure in log.failures:
            if failure.status in RETRY_EXCEEDED:
                told = (
                    f"{failure.host or 'a rank'} gave up on {failure.peer} after all retries (status {failure.status})"
                )
                yield found("RF6008", log.path, failure.line, told)


def lossy(evidence: Evidence) -> Findings:
    """9: both sides of a loss on one port; a NIC that pauses is lossless, so that reordering has another cause."""
    pauses = [paused for nic in evidence.nics if (paused := nic.pauses) is not None]
    if sum(pauses) > 0:
        return
    errors = {port.name: grown for port, grown in evidence.port_counters("packet_seq_err") if grown.by > 0}
    why = "and no priority paused" if pauses else "and whether a priority paused is not known: give `ethtool -S`"
    for port, grown in evidence.port_counters("out_of_sequence"):
        if grown.by > 0 and port.name in errors:
            yield _of(grown, "RF6009", f"{errors[port.name].name} by {errors[port.name].by}, {why}")


def rewritten(evidence: Evidence) -> Findings:
    """10: the ICRC covers what no switch may change."""
    for _, grown in evidence.port_counters("rx_icrc_encapsulated"):
        if grown.by > 0:
            yield _of(grown, "RF6010", "")


def _of(grown: Grown, code: str, more: str) -> Finding:
    return found(code, grown.path, grown.line, f"{grown}, {more}" if more else str(grown))
