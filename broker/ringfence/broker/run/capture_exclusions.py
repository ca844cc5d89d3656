"""What capture leaves alone: the fabric's interfaces and networks. Today an operator's flags name them.

The fabric model will make the same value from its devices. Whoever makes it, what may never be excluded is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS
from ringfence.xds.virtual import VIRTUAL

Network = IPv4Network | IPv6Network

_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")  # IFNAMSIZ is 16 with its NUL (netdevice(7))
_LOOPBACK = "lo"
_NEVER = {
    "the clouds' metadata services": METADATA_NETWORKS,
    "loopback, which is never captured": LOOPBACK_NETWORKS,
    "the addresses that stand for names of the mesh": (VIRTUAL,),
}


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Interfaces by name and networks, sorted; what goes there goes past the proxy."""

    interfaces: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, interfaces: Sequence[str], networks: Sequence[str]) -> Exclusions:
        """From the flags; raises INVALID for what is no interface or CIDR, and for what may never be excluded."""
        return cls(
            tuple(sorted({_interface(name) for name in interfaces})),
            tuple(sorted({_network(text) for text in networks}, key=lambda n: (n.version, n))),
        )

    def of_version(self, version: int) -> tuple[Network, ...]:
        """The networks of IPv4 or IPv6."""
        return tuple(network for network in self.networks if network.version == version)


NOTHING = Exclusions()


def _interface(name: str) -> str:
    if name == _LOOPBACK:
        # Captured packets leave by it before they are turned round: excluding it would end capture altogether.
        raise _wrong(
            "--exclude-interface lo", "would end capture", "Loopback addresses are never captured: drop the flag"
        )
    if not _INTERFACE.fullmatch(name):
        raise _wrong(f"--exclude-interface {name[:40]!r}", "is no name of an interface", "See `ip -brief link`")
    return name


def _network(text: str) -> Network:
    flag = f"--exclude-cidr {text[:60]!r}"
    try:
        network = ip_network(text)
    except ValueError as error:
        raise _wrong(flag, f"is no network: {error}", "As in 192.168.50.0/24 or fd00:fab::/64") from None
    for what, forbidden in _NEVER.items():
        if any(network.version == other.version and network.overlaps(other) for other in forbidden):
            raise _wrong(flag, f"holds {what}", "Name the fabric's own networks, no more")
    return network


def _wrong(flag: str, why: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"{flag} {why}", hint=hint)
