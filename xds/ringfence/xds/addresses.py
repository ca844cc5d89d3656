"""Where no answer of DNS may lead: connections to hosts outside, judged by the address that they go to."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ringfence.policy.externals import External
from ringfence.policy.forbidden import (
    LOCALHOST,
    LOOPBACK_NETWORKS,
    METADATA_NETWORKS,
    PRIVATE_NETWORKS,
    as_ipv6_too,
)
from ringfence.policy.model import FORBIDDEN_ADDRESS, named
from ringfence.policy.resolve import host_of
from ringfence.xds import codec

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_UPSTREAM_IP = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"

Networks = tuple[IPv4Network | IPv6Network, ...]


def forbidden_to(external: External) -> Networks:
    """The networks that the exact name of *external* may not lead into, IPv4 in every spelling."""
    here = host_of(external.address or external.host) == LOCALHOST
    return as_ipv6_too((*METADATA_NETWORKS, *(() if here else LOOPBACK_NETWORKS)))


def forbidden_to_stars(*, private: bool) -> Networks:
    """The same for names in place of a star: anybody's who owns one, so that *private* networks are for the asking."""
    return as_ipv6_too((*METADATA_NETWORKS, *LOOPBACK_NETWORKS, *(() if private else PRIVATE_NETWORKS)))


def upstream_filters(networks: Networks) -> list[dict[str, Any]]:
    """Filters between the choice of an address and the request (Envoy 1.39's upstream RBAC), then the codec."""
    policy = {"permissions": [_leads_to(network) for network in networks], "principals": [{"any": True}]}
    rules = {"action": "DENY", "policies": {named(FORBIDDEN_ADDRESS): policy}}
    judge = codec.extension("envoy.filters.http.upstream_rbac", _RBAC, rules=rules, rules_stat_prefix="address_")
    return [judge, codec.extension("envoy.filters.http.upstream_codec", _CODEC)]


def _leads_to(network: IPv4Network | IPv6Network) -> dict[str, Any]:
    cidr = {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
    matcher = codec.extension("envoy.rbac.matchers.upstream_ip_port", _UPSTREAM_IP, upstream_ip=cidr)
    return {"matcher": matcher}
