"""The kinds of value that only documents of fabrics have, each with its check and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, InstanceOf, WithJsonSchema

from ringfence.policy.fabrics import DEFAULT_PKEY, Interface, InterfaceForm, PortSpan
from ringfence.policy.fields import Cidr, problem
from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS

# A name has at most 15 bytes (IFNAMSIZ), and here none that means something to NCCL_SOCKET_IFNAME: , = ^ and :
_NAME = re.compile(r"(?=.{1,15}$)[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PREFIX = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,13})\*")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")  # as /sys/bus/pci/devices has it
_HEX = re.compile(r"0x[0-9A-Fa-f]{1,4}")
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_GROUP = re.compile(r"sg-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_JOB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LOOPBACK = "lo"
_NEVER = {
    "loopback": LOOPBACK_NETWORKS,
    "link-local addresses, or a cloud's metadata service": METADATA_NETWORKS,
    # Of 240.0.0.0/8 are the addresses that stand for names of the mesh.
    "multicast or reserved addresses": (ip_network("224.0.0.0/3"), ip_network("ff00::/8")),
}
_FULL_MEMBER = 0x8000
_LAST_PORT = 65535


def _interface(value: object) -> Interface:
    text = value if isinstance(value, str) else ""
    if _PCI.fullmatch(text.lower()):
        return Interface(InterfaceForm.PCI, text.lower())
    prefix = _PREFIX.fullmatch(text)
    found = Interface(InterfaceForm.PREFIX, prefix[1]) if prefix else Interface(InterfaceForm.NAME, text)
    if not prefix and not _NAME.fullmatch(text):
        hint = "Write a name (ib0), a beginning of names (ib*) or a PCI address (0000:17:00.0)"
        raise problem("RF1105", f"{value!r:.80} is no network interface", hint)
    if found.takes(_LOOPBACK):
        raise problem("RF1104", f"{text} means loopback, which is on no wire", "Name the fabric's own interfaces")
    return found


def _cidr(text: str) -> str:
    """No fabric has an address that every node has, that no host has, or that hands out the node's credentials."""
    network = ip_network(text)
    for what, forbidden in _NEVER.items():
        if any(network.version == other.version and network.overlaps(other) for other in forbidden):
            raise problem("RF1104", f"{text} holds {what}", "Name the fabric's own networks, no more")
    return text


def _pkey(value: object) -> int:
    """The value of a partition key: 15 bits, and 0 is none (opensm, doc/partition-config.txt)."""
    number = int(value, 16) if isinstance(value, str) and _HEX.fullmatch(value) else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise problem("RF1112", f"{value!r:.80} is no partition key", "Write 0x0001 to 0x7fff")
    if _FULL_MEMBER < number <= _FULL_MEMBER | DEFAULT_PKEY:
        hint = f"The top bit is full membership, and no part of the key: write {number - _FULL_MEMBER:#06x}"
        raise problem("RF1112", f"{number:#06x} has 16 bits, and a partition key 15", hint)
    if not 0 < number <= DEFAULT_PKEY:
        raise problem("RF1112", f"{value!r:.80} is no partition key", "Write 0x0001 to 0x7fff")
    return number


def _between(what: str, last: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if not 0 < number <= last:
            raise problem("RF1112", f"{number} is no {what}", f"Write 1 to {last}")
        return number

    return check


def _ports(value: object) -> PortSpan:
    found = _PORTS.fullmatch(value) if isinstance(value, str) else None
    single = value if isinstance(value, int) and not isinstance(value, bool) else 0
    first, last = (int(found[1]), int(found[2])) if found else (single, single)
    if not 0 < first <= last <= _LAST_PORT:
        raise problem("RF1104", f"{value!r:.80} is no TCP port or range of ports", "Write 50000, or 50000-51000")
    return PortSpan(first, last)


def _spelled(pattern: re.Pattern[str], code: str, what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise problem(code, f"{text!r:.80} is no {what}")
        return text

    return check


InterfaceText = Annotated[
    InstanceOf[Interface],
    BeforeValidator(_interface),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:-]*[*]?$", "maxLength": 20}),
]
FabricCidr = Annotated[Cidr, AfterValidator(_cidr)]
Pkey = Annotated[
    int,
    BeforeValidator(_pkey),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": DEFAULT_PKEY},
                {"type": "string", "pattern": "^0x0*[0-7]?[0-9A-Fa-f]{1,3}$", "maxLength": 6},
            ]
        }
    ),
]
Vlan = Annotated[
    int,
    AfterValidator(_between("VLAN", 4094)),  # IEEE 802.1Q: 0 and 4095 are reserved
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 4094}),
]
Vni = Annotated[
    int,
    AfterValidator(_between("VNI of Slingshot", 65535)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535}),
]
SecurityGroup = Annotated[
    str,
    AfterValidator(_spelled(_GROUP, "RF1112", "security group, sg-0123456789abcdef0")),
    WithJsonSchema({"type": "string", "pattern": f"^{_GROUP.pattern}$"}),
]
Ports = Annotated[
    InstanceOf[PortSpan],
    BeforeValidator(_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _LAST_PORT},
                {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"},
            ]
        }
    ),
]
JobName = Annotated[
    str,
    AfterValidator(_spelled(_JOB, "RF1105", "name of a job, at most 63 letters, digits, dots, dashes and underscores")),
    WithJsonSchema({"type": "string", "pattern": f"^{_JOB.pattern}$"}),
]
