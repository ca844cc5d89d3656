"""Signs on the node itself: capture, ARP, open stores, devices, groups, speed. Codes 11 to 16, 18 and 19."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from ringfence.fabric.doctor.bounded import network, whole
from ringfence.fabric.doctor.evidence import Evidence
from ringfence.fabric.doctor.signatures import Findings, found
from ringfence.fabric.doctor.ss import Socket

PROXIES = {"envoy", "pilot-agent", "linkerd2-proxy", "linkerd-proxy", "ztunnel", "cilium-envoy", "haproxy", "nginx"}
PROXY_UID = 1337  # Istio's
PROXY_PORTS = {15001, 15006}  # Istio's, and ours
SLOW_RTT = 1.0  # milliseconds: a fabric in one building has a tenth of it
MANY_RETRANSMITTED = 0.001  # of the segments that were sent
ENOUGH_SEGMENTS = 10_000
ONE_STREAM = 10.0  # Gbit/s: more than that is not asked of one connection and one core
HALF = 0.5  # of one port's rate: below it no topology explains the bus bandwidth
LARGE = 64 * 1024 * 1024  # bytes: smaller messages are bound by latency
_ARP = (("rp_filter", {"0", "2"}), ("arp_ignore", {"1", "2"}), ("arp_announce", {"2"}))


def captured(evidence: Evidence) -> Findings:
    """11: a rule that takes the fabric's TCP, a proxy that has a socket there, a connection that was turned round."""
    for path, interface, rule in evidence.captures:
        told = (
            f"{rule.where} takes TCP by {interface} ({rule.verb} to port {rule.port or 'none'}), nothing lets it pass"
        )
        yield found("RF6011", path, 1, told, interface)
    for sockets in evidence.sockets:
        for one in sockets.found:
            if _is_proxy(one) and (evidence.on_fabric(one.local) or evidence.on_fabric(one.peer)):
                owner = f"{one.owner or 'a process'} ({_owner(one)})"
                yield found("RF6011", sockets.path, one.line, f"{owner} has a socket on the fabric, with {one.peer}")
    for flows in evidence.flows:
        for flow in flows.found:
            called, answer = flow.original, flow.reply
            fabric = evidence.on_fabric(called.destination) or evidence.on_fabric(called.source)
            if fabric and flow.redirected:
                by = "a proxy's port" if answer.source_port in PROXY_PORTS else "another place"
                told = f"{called.source} called {called.destination}:{called.destination_port}, and {by} answers"
                yield found("RF6011", flows.path, flow.line, f"{told}: {answer.source}:{answer.source_port}")


def _is_proxy(socket: Socket) -> bool:
    return socket.owner in PROXIES or socket.uid == PROXY_UID


def _owner(socket: Socket) -> str:
    return f"uid {socket.uid}" if socket.uid is not None else f"pid {socket.pid}"


def arp_flux(evidence: Evidence) -> Findings:
    """12: where two NICs share a network, one of them the fabric's; the kernel takes the larger of `all` and own."""
    placed = [(one.name, net) for one in evidence.interfaces for text in one.addresses if (net := network(text))]
    sharing = {
        name
        for (first, one), (second, other) in combinations(placed, 2)
        if first != second and one == other and {first, second} & set(evidence.declared.interfaces)
        for name in (first, second)
    }
    for name in sorted(sharing):
        for setting, right in _ARP:
            path = f"/proc/sys/net/ipv4/conf/{name}/{setting}"
            if path not in evidence.sysctls:
                continue
            every = whole(evidence.sysctls.get(path.replace(f"/{name}/", "/all/"), "0").strip()) or 0
            value = str(max(whole(evidence.sysctls[path].strip()) or 0, every))
            if value not in right:
                told = f"{name} shares its network with another NIC and has {setting}={value}"
                yield found("RF6012", path, 1, told)


def slow(evidence: Evidence) -> Findings:
    """13: what measurements say, those of nccl-tests and RAS, the kernel's own, and those of a probe."""
    yield from _slow_sockets(evidence)
    yield from _slow_probes(evidence)
    yield from _retransmitted(evidence)
    yield from _slow_tests(evidence)
    for answer in evidence.ras:
        for fault in answer.faults:
            if fault.lost:
                of = f" in {fault.communicator}" if fault.communicator else ""
                yield found("RF6013", answer.path, fault.line, f"RAS says {fault.kind}{of}: {fault.detail}")


def _slow_sockets(evidence: Evidence) -> Findings:
    slowest: dict[str, tuple[float, str, int]] = defaultdict(lambda: (0.0, "", 0))
    for sockets in evidence.sockets:
        for one in sockets.found:
            if one.rtt is not None and one.rtt > SLOW_RTT and evidence.on_fabric(one.peer):
                slowest[one.peer] = max(slowest[one.peer], (one.rtt, sockets.path, one.line))
    for peer, (rtt, path, line) in sorted(slowest.items()):
        yield found("RF6013", path, line, f"{peer} is {rtt:g} ms away, a fabric's peer less than {SLOW_RTT:g} ms")


def _slow_probes(evidence: Evidence) -> Findings:
    for probe in evidence.probes:
        if probe.rtt is not None and probe.rtt > SLOW_RTT:
            told = f"{probe.peer} is {probe.rtt:.3g} ms away at best, a fabric's peer less than {SLOW_RTT:g} ms"
            yield found("RF6013", probe.path, 1, told)
        floor = min(probe.line_rate or 0.0, ONE_STREAM) * HALF
        if probe.rate is not None and probe.rate < floor:
            told = f"{probe.rate:.3g} Gbit/s over one connection, where {probe.interface} has {probe.line_rate:g}"
            yield found("RF6013", probe.path, 1, told)
        rates = [port.rate for port in evidence.ports if port.active and port.rate]
        if probe.verbs is not None and probe.verbs < min(rates, default=0.0) * HALF:
            told = f"{probe.verbs:.3g} Gbit/s of ib_write_bw, where a port has {min(rates):g}"
            yield found("RF6013", probe.path, 1, told)


def _retransmitted(evidence: Evidence) -> Findings:
    before = {one.path: one.counters for one in evidence.nstat_before}
    first = next(iter(before.values()), {})
    for one in evidence.nstat:
        again = one.counters.get("TcpRetransSegs", 0) - first.get("TcpRetransSegs", 0)
        sent = one.counters.get("TcpOutSegs", 0) - first.get("TcpOutSegs", 0)
        if sent >= ENOUGH_SEGMENTS and again > sent * MANY_RETRANSMITTED:
            told = f"TcpRetransSegs is {again} of {sent} segments of this namespace, on all its interfaces"
            yield found("RF6013", one.path, one.lines.get("TcpRetransSegs", 1), told)


def _slow_tests(evidence: Evidence) -> Findings:
    rates = [port.rate for port in evidence.ports if port.active and port.rate]
    for run in evidence.tests:
        if run.wrong:
            yield found("RF6013", run.path, run.wrong_line, f"{run.wrong} values of nccl-tests are wrong")
        peak = run.peak
        floor = min(rates, default=0.0) / 8 * HALF  # Gbit/s to GB/s
        if peak and peak.size >= LARGE and peak.bus < floor:
            told = f"{peak.bus:g} GB/s of bus bandwidth at best, less than half of one port's {floor / HALF:g} GB/s"
            yield found("RF6013", run.path, peak.line, told)


def open_rendezvous(evidence: Evidence) -> Findings:
    """14: a listener on every address is one on the fabric; a proxy's asks for a certificate, and is left out."""
    if not evidence.declared.interfaces and not evidence.declared.networks:
        return
    for sockets in evidence.sockets:
        for one in sockets.found:
            bound = one.interface in {"", *evidence.declared.interfaces}
            reached = (one.local == "*" and bound) or evidence.on_fabric(one.local)
            known = one.local_port in evidence.declared.rendezvous_ports
            if one.state == "LISTEN" and known and reached and not _is_proxy(one):
                where = "every address" if one.local == "*" else one.local
                told = f"{one.owner or 'a process'} listens on {where}, port {one.local_port}"
                yield found("RF6014", sockets.path, one.line, told)
    for probe in evidence.probes:
        for port in probe.open_ports:
            yield found("RF6014", probe.path, 1, f"port {port} of {probe.peer} takes a connection, and speaks no TLS")


def shared_devices(evidence: Evidence) -> Findings:
    """15: one tenant may share with itself."""
    if evidence.shared_namespaces and evidence.declared.tenants > 1:
        told = f"`rdma system` is shared and {evidence.declared.tenants} tenants are on the node"
        yield found("RF6015", "rdma system", 1, told)


def closed_group(evidence: Evidence) -> Findings:
    """16: egress is what people forget; ingress from itself is as necessary."""
    for group in evidence.groups:
        ways = (("egress to", group.egress_to_itself), ("ingress from", group.ingress_from_itself))
        lacking = " and no ".join(name for name, there in ways if not there)
        if lacking:
            yield found("RF6016", group.path, 1, f"{group.id} has no {lacking} itself for all protocols")


def full_members(evidence: Evidence) -> Findings:
    """18: 0xffff in the table of keys is full membership on InfiniBand; RoCE has it always, and for nothing."""
    for port in evidence.ports:
        if port.link_layer == "InfiniBand" and "0xffff" in {key.lower() for key in port.keys}:
            path = f"/sys/class/infiniband/{port.device}/ports/{port.number}/pkeys"
            yield found("RF6018", path, 1, f"{port.name} has the key 0xffff")


def open_managers(evidence: Evidence) -> Findings:
    """19: what a subnet manager opens, anybody may open who is not root."""
    for one in evidence.device_files:
        if one.manages and one.mode & 0o066:
            yield found("RF6019", one.path, one.line, f"/dev/infiniband/{one.name} has mode {one.mode:04o}")
