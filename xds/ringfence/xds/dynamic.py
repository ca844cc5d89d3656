"""Hosts outside with a star: Envoy looks up the name that is really asked for, and checks the certificate for that one.

No name is looked up before the rules have spoken, and of what DNS answers only addresses are remembered to which names
may lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.model import DEFAULT_DENY, Rule, named
from ringfence.policy.traffic import Traffic
from ringfence.policy.wildcard import asked_regex, names_regex, within
from ringfence.xds import addresses, codec, http, matcher, predicates
from ringfence.xds.predicates import Fields
from ringfence.xds.resilience import cluster_fields
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import outside_tls_by_name

_CLUSTER = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_HTTP_FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
_FILTER_STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"
_SNI_FILTER = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
_CONNECT_TIMEOUT = timedelta(seconds=10)
_HTTP, _HTTPS = 80, 443
_DEFAULT_DENY = matcher.act(named(DEFAULT_DENY), allow=False)
_MOST_NAMES = 1024  # that one proxy remembers; one more is answered 503 until some are forgotten, unused for 5 minutes
_MOST_LOOKUPS = 64  # under way at a time


def dynamic_cluster(
    name: str, external: External, port: ExternalPort, *, tls: bool, private: bool, roots: str, traffic: Traffic | None
) -> tuple[str, Resource]:
    """The cluster of one port of *external*; *roots* is the file of the system's trust store.

    It goes to the host of a request, or to the one that a TLS client names, by the look-up with the same *private*.
    """
    pem = {"inline_string": external.ca_pem} if external.ca_pem else {"filename": roots}
    fields: dict[str, Any] = cluster_fields(traffic, port.protocol)
    if traffic is None or traffic.connect_timeout is None:
        fields["connect_timeout"] = _CONNECT_TIMEOUT
    if tls:
        fields["transport_socket"] = outside_tls_by_name(pem)
    really_asked = {"auto_sni": True, "auto_san_validation": True}
    fields |= leads_to_what_is_found(private=private)
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        typed_extension_protocol_options=http.protocol_options(
            port.protocol, upstream_http_protocol_options=really_asked
        ),
        **fields,
    )
    return codec.resource(name, cluster)


def leads_to_what_is_found(*, private: bool) -> Fields:
    """The fields of a cluster that goes where the filters before it have found that a name is."""
    cache = _cache(private=private)
    found = codec.extension("envoy.clusters.dynamic_forward_proxy", _CLUSTER, dns_cache_config=cache)
    return {"lb_policy": "CLUSTER_PROVIDED", "cluster_type": found}


@dataclass(frozen=True, slots=True)
class Wild:
    """The names of one port of *external* that are its own, as what rules are looked up by."""

    external: External
    names: str  # regex, as are the others
    number: str  # that requests put behind a name
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
        return cls(external, names, number, others)

    @property
    def authorities(self) -> str:
        """Its names as requests spell them."""
        return self.names + self.number

    @property
    def order(self) -> tuple[int, str]:
        """A key by which the longer name, which owns what it means, comes first."""
        return -len(self.external.host), self.external.key

    def tree(self, rules: Sequence[Rule], conditions: matcher.Conditions, otherwise: Fields) -> Fields:
        """The matcher of requests to its names alone."""
        return matcher.by_authority({}, self.branches(rules, conditions, otherwise), otherwise)

    def branches(
        self, rules: Sequence[Rule], conditions: matcher.Conditions, otherwise: Fields
    ) -> list[tuple[str, Fields]]:
        """What follows for its names, by regex, and before that for those that are others'."""
        asked = self._asking(conditions)
        end = matcher.then(matcher.sequence(rules, asked, otherwise))
        return [*self._owned_by_others("(?::[0-9]+)?", otherwise), (self.authorities, end)]

    def _asking(self, conditions: matcher.Conditions) -> matcher.Conditions:
        """The same of requests to those of its names alone that a rule asks for."""

        def asked(rule: Rule) -> Sequence[Fields]:
            wanted = conditions(rule)
            if not rule.server_names:
                return wanted
            spelled = predicates.regex(f"(?:{self._asked(rule)}){self.number}")
            return matcher.each_with(predicates.header(":authority", {"safe_regex": spelled}), wanted)

        return asked

    def asked_by(self, rule: Rule) -> Sequence[Fields]:
        """The conditions of a rule on TLS connections: which of its names they ask for."""
        if not rule.server_names:
            return ()
        return (predicates.asked_name({"safe_regex": predicates.regex(self._asked(rule))}),)

    def connections(self, follows: Fields, otherwise: Fields = _DEFAULT_DENY) -> Fields:
        """The matcher of TLS connections that ask for its names: what *follows*, and default deny for any other."""
        return matcher.by_server_names([*self._owned_by_others("", otherwise), (self.names, follows)], otherwise)

    def chains(self, where: str, deny: Iterable[Rule], allow: Iterable[Rule]) -> Fields:
        """The matcher that gives what these rules allow the chain *where*, and everything else that of `refused`.

        Envoy looks a name up as soon as it has the connection, and network RBAC speaks with its first byte: where the
        look-up stands in the chain of all, whoever may reach nothing could tell the world by questions to DNS.
        """
        closed = _chain(refused(where))
        ends = [*((rule, closed) for rule in deny), *((rule, _chain(where)) for rule in allow)]
        names = [(self._asked(rule), end) for rule, end in ends]
        return self.connections(matcher.then(matcher.by_server_names(names, closed)), closed)

    def _asked(self, rule: Rule) -> str:
        return asked_regex(self.external, rule.server_names) if rule.server_names else self.names

    def _owned_by_others(self, number: str, otherwise: Fields) -> list[tuple[str, Fields]]:
        return [(f"(?:{self.others}){number}", otherwise)] if self.others else []


def refused(where: str) -> str:
    """The chain of the connections at *where* whose names are not looked up."""
    return f"{where}/refused"


def _chain(name: str) -> Fields:
    return {"action": codec.extension(name, "google.protobuf.StringValue", value=name)}


def http_filter(*, private: bool) -> dict[str, Any]:
    """What stands behind the rules of a listener: the look-up of the host that a request names."""
    return codec.extension(
        "envoy.filters.http.dynamic_forward_proxy", _HTTP_FILTER, dns_cache_config=_cache(private=private)
    )


def asks_for(host: str) -> dict[str, Any]:
    """The network filter that has the next one look up that host, whatever a client asks for."""
    named_host = {
        "object_key": "envoy.upstream.dynamic_host",  # one that Envoy itself reads (well_known_filter_state.rst)
        "format_string": {"text_format_source": {"inline_string": host}},
        "read_only": True,
    }
    return codec.extension("ringfence.host", _FILTER_STATE, on_new_connection=[named_host])


def name_filter(number: int, *, private: bool) -> dict[str, Any]:
    """The network filter that looks up the name that a TLS client asks for, for a connection to that port of it."""
    return codec.extension(
        "envoy.filters.network.sni_dynamic_forward_proxy",
        _SNI_FILTER,
        dns_cache_config=_cache(private=private),
        port_value=number,
    )


def _cache(*, private: bool) -> dict[str, Any]:
    """What a proxy remembers of names. A forbidden address is no answer here at all.

    Envoy tries the addresses of an answer in turn, and its filters see the first of them only: they are no judges of
    where a connection goes. All that share a cache must have it the same.
    """
    networks = addresses.forbidden_to_stars(private=private)
    ranges = [{"address_prefix": str(n.network_address), "prefix_len": {"value": n.prefixlen}} for n in networks]
    return {
        "name": "egress-private" if private else "egress-public",
        "max_hosts": {"value": _MOST_NAMES},
        "dns_cache_circuit_breaker": {"max_pending_requests": {"value": _MOST_LOOKUPS}},
        "resolved_address_filter": {"ranges": ranges},
    }
