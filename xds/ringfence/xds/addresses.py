"""Where no answer of DNS may lead: connections to hosts outside, judged by the address that they go to."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS, PRIVATE_NETWORKS, as_ipv6_too
from ringfence.policy.model import FORBIDDEN_ADDRESS, External, named
from ringfence.policy.resolve import host_of
from ringfence.xds import codec

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_UPSTREAM_IP = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
_LOCALHOST = "localhost"

Networks = tuple[IPv4Network | IPv6Network, ...]


def forbidden_to(external: External) -> Networks:
    """The networks that names of *external* may not lead into, IPv4 in every spelling.

    A name in place of a star is anybody's who owns one below it: it leads into private networks only where the
    document says that such are meant.
    """
    if external.dynamic is not None:
        private = () if external.dynamic.private else PRIVATE_NETWORKS
        return as_ipv6_too((*METADATA_NETWORKS, *LOOPBACK_NETWORKS, *private))
    here = host_of(external.address or external.host) == _LOCALHOST
    return as_ipv6_too((*METADATA_NETWORKS, *(() if here else LOOPBACK_NETWORKS)))


def upstream_filters(networks: Networks) -> list[dict[str, Any]]:
    """Filters between the choice of an address and the request (Envoy 1.39's upstream RBAC), then the codec."""
    judge = codec.extension("envoy.filters.http.upstream_rbac", _RBAC, **denied([leads_into(networks)]))
    return [judge, codec.extension("envoy.filters.http.upstream_codec", _CODEC)]


def denied(permissions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The fields of an RBAC filter that denies what any of *permissions* means as `forbidden-address`."""
    policy = {"permissions": list(permissions), "principals": [{"any": True}]}
    return {
        "rules": {"action": "DENY", "policies": {named(FORBIDDEN_ADDRESS): policy}},
        "rules_stat_prefix": "address_",
    }


def leads_into(networks: Networks) -> dict[str, Any]:
    """The permission that means connections to any of *networks*."""
    return {"or_rules": {"rules": [_leads_to(network) for network in networks]}}


def _leads_to(network: IPv4Network | IPv6Network) -> dict[str, Any]:
    cidr = {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
    matcher = codec.extension("envoy.rbac.matchers.upstream_ip_port", _UPSTREAM_IP, upstream_ip=cidr)
    return {"matcher": matcher}
