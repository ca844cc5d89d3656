"""Addresses outside that no workload may reach, whatever a document says: the clouds' metadata services.

They hand out the machine's own credentials to whoever asks (IMDS of AWS, Azure, Google Cloud, Alibaba Cloud, Oracle
Cloud, OpenStack; task credentials of AWS ECS; pod identities of AWS EKS; Azure's WireServer). Loopback is forbidden to
names that DNS answers: a name that rebinds to it would lead into the proxy's own host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

LOCALHOST = "localhost"  # this very host, for which nobody else answers
METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "metadata", "instance-data"})
METADATA_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: IMDS at .169.254, ECS at .170.2, EKS at .170.23
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's WireServer
        "192.0.0.192/32",  # Oracle Cloud Classic
        "fe80::/10",
        "fd00:ec2::/32",  # AWS: ::254, ::23
        "fd20:ce::/32",  # Google Cloud: ::254
    )
)
LOOPBACK_NETWORKS = tuple(ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "::/127"))
# Where no name outside leads by itself (RFC 6890): networks of one's own, tests, relays, and what is no host at all.
PRIVATE_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers, and by clouds for their own
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "fc00::/7",
        "fec0::/10",
        "ff00::/8",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 within
_MAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"))  # RFC 4291 section 2.5.5.2, RFC 2765
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def is_metadata(host: str) -> bool:
    """Whether *host*, a lower-case name or an address without brackets, is known to be a metadata service."""
    address = address_of(host)
    if address is None:
        return host.removesuffix(".") in METADATA_NAMES
    return any(address in network for network in METADATA_NETWORKS)


def metadata_below(suffix: str) -> str | None:
    """The metadata service whose name ends in *suffix*, `.google.internal`; None where there is none."""
    return next((name for name in sorted(METADATA_NAMES) if name.endswith(suffix)), None)


def as_ipv6_too(networks: Iterable[IPv4Network | IPv6Network]) -> tuple[IPv4Network | IPv6Network, ...]:
    """*networks*, and those of IPv4 again as IPv6 spells them: DNS may answer `::ffff:169.254.169.254`.

    What the kernel takes for IPv4 is no honest answer in any of its addresses; what a translator takes for it is.
    """
    listed = tuple(networks)
    translated = (
        IPv6Network((int(_NAT64.network_address) | int(each.network_address), _NAT64.prefixlen + each.prefixlen))
        for each in listed
        if isinstance(each, IPv4Network)
    )
    return (*listed, *_MAPPED, *translated)


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address that *host* spells, the IPv4 one where it is written as an IPv6; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in (_NAT64, *_MAPPED)):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_misspelt_address(host: str) -> bool:
    """Whether *host* is no address, and some resolvers read it as one: `2852039166`, `0xa9fea9fe`, `127.1`.

    The rule is that of the URL standard, "ends in a number".
    """
    return address_of(host) is None and _ENDS_IN_NUMBER.fullmatch(host) is not None
