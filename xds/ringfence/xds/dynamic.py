"""Hosts outside with a star: Envoy looks up the name that is really asked for, and checks the certificate for that one.

No name is looked up before the rules have spoken. What DNS answers is judged before anything is sent there, and again
by the connection itself, since a later answer may be another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ringfence.policy.model import DEFAULT_DENY, External, ExternalPort, Rule, named
from ringfence.policy.traffic import Traffic
from ringfence.policy.wildcard import names_regex, within
from ringfence.xds import addresses, codec, http, matcher, rbac
from ringfence.xds.predicates import Fields
from ringfence.xds.resilience import cluster_fields
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import outside_tls_by_name

_CLUSTER = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_HTTP_FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
_SNI_FILTER = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
_CONNECT_TIMEOUT = timedelta(seconds=10)
_HTTP, _HTTPS = 80, 443
_DEFAULT_DENY = matcher.act(named(DEFAULT_DENY), allow=False)
_MOST_NAMES = 1024  # that one proxy remembers; one more is answered 503 until some are forgotten, unused for 5 minutes
_MOST_LOOKUPS = 64  # under way at a time


def dynamic_cluster(
    name: str, external: External, port: ExternalPort, *, tls: bool, by_sni: bool, roots: str, traffic: Traffic | None
) -> tuple[str, Resource]:
    """The cluster of one port of *external*; *roots* is the file of the system's trust store.

    It goes to the host of a request, or *by_sni* to the one that a TLS client names.
    """
    pem = {"inline_string": external.ca_pem} if external.ca_pem else {"filename": roots}
    fields: dict[str, Any] = cluster_fields(traffic, port.protocol)
    if traffic is None or traffic.connect_timeout is None:
        fields["connect_timeout"] = _CONNECT_TIMEOUT
    if tls:
        fields["transport_socket"] = outside_tls_by_name(pem)
    filters = [] if by_sni else addresses.upstream_filters(addresses.forbidden_to(external))
    really_asked = {"auto_sni": True, "auto_san_validation": True}
    cache = _sni_cache(external) if by_sni else _http_cache()
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        lb_policy="CLUSTER_PROVIDED",
        cluster_type=codec.extension("envoy.clusters.dynamic_forward_proxy", _CLUSTER, dns_cache_config=cache),
        typed_extension_protocol_options=http.protocol_options(
            port.protocol, filters, upstream_http_protocol_options=really_asked
        ),
        **fields,
    )
    return codec.resource(name, cluster)


@dataclass(frozen=True, slots=True)
class Wild:
    """The names of one port of *external* that are its own, as what rules are looked up by."""

    external: External
    names: str  # regex, as are the others
    authorities: str
    others: str  # names below its star that another document declares; empty where there are none

    @classmethod
    def of(cls, external: External, port: ExternalPort, externals: Iterable[External], *, default: bool) -> Wild:
        """Those at *port*: requests spell them in lower case, and with the number.

        Without it too where *default* and Envoy would take the right one by itself: 443 where it speaks TLS, else 80.
        """
        implied = default and port.number == (_HTTPS if port.tls else _HTTP)
        number = f"(?::{port.number})?" if implied else f":{port.number}"
        names = names_regex(external)
        others = "|".join(sorted({names_regex(each) for each in within(externals, external)}))
        return cls(external, names, names + number, others)

    @property
    def order(self) -> tuple[int, str]:
        """A key by which the longer name, which owns what it means, comes first."""
        return -len(self.external.host), self.external.key

    def tree(self, rules: Sequence[Rule], conditions: matcher.Conditions, otherwise: Fields) -> Fields:
        """The matcher of requests to its names alone."""
        return matcher.by_authority({}, self.branches(self.authorities, rules, conditions, otherwise), otherwise)

    def branches(
        self, spelled: str, rules: Sequence[Rule], conditions: matcher.Conditions, otherwise: Fields
    ) -> list[tuple[str, Fields]]:
        """What follows for its names, by regex, and before that for those that are others'."""
        end = matcher.then(matcher.sequence(rules, conditions, otherwise))
        return [*self._owned_by_others("(?::[0-9]+)?", otherwise), (spelled, end)]

    def connections(self, verdict: Fields) -> Fields:
        """The matcher of TLS connections that ask for its names: *verdict*, and default deny for any other."""
        return matcher.by_server_names(
            [*self._owned_by_others("", _DEFAULT_DENY), (self.names, verdict)], _DEFAULT_DENY
        )

    def _owned_by_others(self, number: str, otherwise: Fields) -> list[tuple[str, Fields]]:
        return [(f"(?:{self.others}){number}", otherwise)] if self.others else []


def address_name(where: str) -> str:
    """The name of the filter that judges where DNS leads a request to."""
    return f"{where}/address"


def http_filters(where: str) -> list[dict[str, Any]]:
    """What stands behind the rules of a listener: the look-up, and the judge of what it found."""
    lookup = codec.extension(
        "envoy.filters.http.dynamic_forward_proxy",
        _HTTP_FILTER,
        dns_cache_config=_http_cache(),
        save_upstream_address=True,
    )
    return [lookup, http.policy_filter(address_name(where))]


def address_policy(where: str, externals: Iterable[External]) -> tuple[str, Resource]:
    """That judge, for requests to hosts of *externals*, each with the networks forbidden to it."""
    permissions = [
        {"and_rules": {"rules": [_asks_for(each), addresses.leads_into(addresses.forbidden_to(each))]}}
        for each in externals
    ]
    policy = codec.build(rbac.HTTP_RBAC, **addresses.denied(permissions))
    return rbac.policy_resource(address_name(where), policy)


def sni_filter(external: External, port: ExternalPort) -> dict[str, Any]:
    """The network filter that looks up the name that a TLS client asks for."""
    return codec.extension(
        "envoy.filters.network.sni_dynamic_forward_proxy",
        _SNI_FILTER,
        dns_cache_config=_sni_cache(external),
        port_value=port.number,
    )


def _asks_for(external: External) -> dict[str, Any]:
    """Every spelling of what a host of *external* may be: by suffixes, since Envoy takes no long regex here."""
    suffix = external.host.removeprefix("*")
    spelled = [suffix, *(f"{suffix}:{port.number}" for port in external.ports)]
    asked = [{"header": {"name": ":authority", "string_match": {"suffix": each}}} for each in spelled]
    return {"or_rules": {"rules": asked}}


def _http_cache() -> dict[str, Any]:
    """All that share a cache must have it the same: one a proxy for requests."""
    return _cache("egress")


def _sni_cache(external: External) -> dict[str, Any]:
    """Connections are judged by Envoy before they have an address: forbidden ones are no answer here at all."""
    networks = addresses.forbidden_to(external)
    ranges = [{"address_prefix": str(n.network_address), "prefix_len": {"value": n.prefixlen}} for n in networks]
    kind = "private" if external.dynamic is not None and external.dynamic.private else "public"
    return _cache(f"egress-sni-{kind}") | {"resolved_address_filter": {"ranges": ranges}}


def _cache(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "max_hosts": {"value": _MOST_NAMES},
        "dns_cache_circuit_breaker": {"max_pending_requests": {"value": _MOST_LOOKUPS}},
    }
