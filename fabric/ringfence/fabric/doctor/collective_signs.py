"""Signs in NCCL's own words, codes 1 to 3, 6 and 17: the network it chose, interfaces, GPUDirect, refused peers."""

from __future__ import annotations

from itertools import groupby

from ringfence.fabric.doctor.bounded import address, network, whole
from ringfence.fabric.doctor.evidence import Evidence
from ringfence.fabric.doctor.nccl_log import Interface, NcclLog
from ringfence.fabric.doctor.signatures import Findings, found

_PREFIX = 24  # NCCL_IB_SUBNET_PREFIX_LEN as NCCL has it where nobody sets it
_SUBNET_BITS = 64  # of a GID: its upper half is the subnet, of IPv6 and of InfiniBand alike
_GDR = "/GDRDMA"
_SOCKET = "Socket"


def fallen_back(evidence: Evidence) -> Findings:
    """1: sockets where RDMA could be. Without active ports, or a device in the log, sockets are no fall-back."""
    active = [port.name for port in evidence.ports if port.active]
    for log in evidence.logs:
        if not active and not log.devices:
            continue
        rdma = ", ".join(active or [f"{device.name}:{device.port}" for device in log.devices])
        for said in (*log.networks, *log.network_ways):
            if said.text == _SOCKET or said.text.startswith("NET/Socket"):
                yield found(
                    "RF6001", log.path, said.line, f"{_who(said.host)} uses {said.text} although {rdma} is there"
                )
        if active:
            for said in log.without_device:
                yield found("RF6001", log.path, said.line, f"{_who(said.host)}: {said.text}, although {rdma} is active")


def wrong_interface(evidence: Evidence) -> Findings:
    """2: bootstrap may use the control plane or the fabric, data over sockets the fabric alone."""
    fabric, control = set(evidence.declared.interfaces), set(evidence.declared.control)
    for log in evidence.logs:
        if fabric:
            devices = {port.name for port in evidence.ports} | {f"{one.name}:{one.port}" for one in log.devices}
            yield from _strays(log, "bootstrap", log.bootstrap, fabric | control, devices)
            yield from _strays(log, "out-of-band", log.out_of_band, fabric | control, devices)
            if any(said.text == _SOCKET for said in log.networks):
                yield from _strays(log, "data", log.sockets, fabric, devices)
        for said in log.gloo_refused:
            if said.text.startswith("127.") or said.text == "::1":
                yield found("RF6002", log.path, said.line, f"gloo calls its peer at {said.text}, its own machine")


def _strays(log: NcclLog, plane: str, used: tuple[Interface, ...], allowed: set[str], devices: set[str]) -> Findings:
    names = ", ".join(sorted(allowed))
    for one in used:
        if one.name not in allowed and f"{one.name}:{one.address}" not in devices:
            told = f"{_who(one.host)} uses {one.name} ({one.address}) for {plane}, which is not one of {names}"
            yield found("RF6002", log.path, one.line, told)


def not_direct(evidence: Evidence) -> Findings:
    """3: said once a log, where no channel over RDMA is direct; a channel alone may be far from its GPU by design."""
    for log in evidence.logs:
        ways = [way for way in log.network_ways if not way.text.startswith("NET/Socket")]
        if ways and not any(_GDR in way.text for way in ways):
            off = next((said for said in log.direct if said.text == "Disabled"), None)
            why = f", and line {off.line} says that it is disabled" if off else ""
            yield found("RF6003", log.path, ways[0].line, f"{_who(ways[0].host)} goes by {ways[0].text}{why}")


def different_networks(evidence: Evidence) -> Findings:
    """6: the two GIDs of a failed request, compared as NCCL would; one that it cannot read says nothing."""
    for log in evidence.logs:
        settings = dict(said.text.split("=", 1) for said in log.settings)
        if settings.get("NCCL_IB_SUBNET_AWARE_ROUTING", "0") != "0":
            continue
        bits = whole(settings.get("NCCL_IB_SUBNET_PREFIX_LEN")) or _PREFIX
        for failure in log.failures:
            if _apart(failure.local_gid, failure.remote_gid, bits):
                told = f"{failure.local_gid} of {_who(failure.host)} and {failure.remote_gid} of {failure.peer}"
                yield found("RF6006", log.path, failure.line, f"{told} are not in one network")


def _apart(here: str, there: str, bits: int) -> bool:
    one, other = address(here), address(there)
    if one is None or other is None or one.version != other.version or one.is_link_local or other.is_link_local:
        return False
    one_network = network(f"{one}/{bits if one.version == 4 else _SUBNET_BITS}")  # noqa: PLR2004 - IPv4
    return one_network is not None and other not in one_network


def strangers(evidence: Evidence) -> Findings:
    """17: the magic of a socket is no secret, and who does not have it was not meant to be there."""
    for log in evidence.logs:
        for host, knocks in groupby(log.strangers, key=lambda said: said.text.partition("<")[0]):
            first = next(knocks)
            yield found("RF6017", log.path, first.line, f"{host} knocked at {_who(first.host)} with another magic")


def _who(host: str) -> str:
    return host or "a rank"
