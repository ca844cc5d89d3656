"""What a workload may reach outside the mesh: by name only, with TLS from the proxy on and the name checked.

Two ways lead there: a loopback listener a declared upstream, and one forward proxy for programs that know
`http_proxy`. Whatever is not declared and allowed is answered 403 by the named default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ringfence.policy.evaluate import in_force
from ringfence.policy.model import (
    DEFAULT_DENY,
    NO_DENY,
    Destination,
    Effect,
    External,
    ExternalPort,
    Model,
    Rule,
    Workload,
    named,
)
from ringfence.policy.scope import Upstream, narrowest
from ringfence.xds import decision, http, matcher, predicates, rbac, tcp
from ringfence.xds.instance import Address
from ringfence.xds.outbound import loopback, outbound_name
from ringfence.xds.outside import outside_cluster
from ringfence.xds.routing import outside_action
from ringfence.xds.snapshot import Resource
from ringfence.xds.telemetry import Reporter

EGRESS = "egress"
_NO_DENY = matcher.act(named(NO_DENY), allow=True)
_DEFAULT_DENY = matcher.act(named(DEFAULT_DENY), allow=False)


class Egress:
    """The way out of one workload: its rules for hosts outside, and the resources made of them."""

    def __init__(self, model: Model, workload: Workload, reporter: Reporter, now: datetime, roots: str) -> None:
        self._model = model
        self._workload = workload
        self._reporter = reporter
        self._now = now
        self._roots = roots

    def upstream(self, upstream: Upstream, address: Address) -> Iterator[tuple[str, Resource]]:
        """A loopback listener for one declared port of a host outside."""
        where = outbound_name(upstream)
        external, port = self._declared(upstream)
        rules = self._rules(Destination(upstream.key, upstream.port))
        yield self._cluster(where, upstream, tls=port.tls)
        if not upstream.protocol.is_http:
            log = self._reporter.connections(decision.POINT_EGRESS, where)
            proxy = tcp.proxy(where, where, log, wait_for_data=True)
            asked = external.host if port.passthrough else ""
            filters = [*rbac.constant_filters(where, rules, asked), proxy]
            yield loopback(where, address, filters, inspect=port.passthrough)
            return
        yield from self._policies(where, lambda some, end: matcher.sequence(some, matcher.on_requests, end), rules)
        traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
        yield http.one_route(where, where, host_rewrite_literal=external.host, **outside_action(traffic))
        yield loopback(where, address, [self._manager(where)], http.needs(where))

    def forward_proxy(self, upstreams: Sequence[Upstream], address: Address) -> Iterator[tuple[str, Resource]]:
        """The forward proxy for absolute-form requests and CONNECT; *upstreams* are those outside."""
        hosts = []
        by_authority: dict[str, rbac.PortRules] = {}
        for upstream in upstreams:
            external, port = self._declared(upstream)
            names = _authorities(external, port, taken=by_authority)
            by_authority |= dict.fromkeys(names, self._rules(Destination(upstream.key, upstream.port)))
            plain, tunnel = f"{EGRESS}/{upstream.name}", f"{EGRESS}/{upstream.name}/tunnel"
            yield self._cluster(tunnel, upstream, tls=False)
            if port.protocol.is_http:
                yield self._cluster(plain, upstream, tls=port.tls)
            traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
            action = {"cluster": plain, "host_rewrite_literal": external.host, **outside_action(traffic)}
            hosts.append(_host(upstream.name, names, tunnel, action if port.protocol.is_http else None))
        yield from self._authority_policies(by_authority)
        yield http.routes(EGRESS, [*hosts, _NOWHERE])
        yield loopback(EGRESS, address, [self._manager(EGRESS, upgrade_configs=[_CONNECT])], http.needs(EGRESS))

    def _declared(self, upstream: Upstream) -> tuple[External, ExternalPort]:
        external = self._model.externals[upstream.key]
        port = external.port(upstream.port)
        if port is None:
            raise KeyError(upstream.name)  # upstreams come from the same model: it cannot be
        return external, port

    def _rules(self, destination: Destination) -> rbac.PortRules:
        """The rules in force that mean this workload, the narrowest source first."""
        domain = self._model.mesh.trust_domain
        found: list[tuple[int, str, Rule]] = []
        for rule in self._model.rules:
            wide = narrowest(rule, self._workload.spiffe_id, domain)
            if wide is not None and destination in rule.destinations and in_force(rule, self._now):
                found.append((wide, rule.id, rule))
        return rbac.PortRules.of(domain, (rule for _, _, rule in sorted(found, key=lambda f: f[:2])))

    def _manager(self, where: str, **more: Any) -> dict[str, Any]:
        log = self._reporter.requests(decision.POINT_EGRESS, where)
        tracing = self._reporter.tracing(where)
        filters = [rbac.path_filter(), *http.policy_filters(where)]
        return http.manager(where, filters=filters, access_log=log, tracing=tracing, **more)

    def _policies(self, where: str, tree: Any, rules: rbac.PortRules) -> Iterator[tuple[str, Resource]]:
        shadow_deny = tree(rules.shadow_deny, _NO_DENY) if rules.shadow_deny else None
        shadow_allow = tree(rules.shadow_allow, _DEFAULT_DENY) if rules.shadow_allow else None
        deny = rbac.judged(rbac.DENY, tree(rules.deny, _NO_DENY), shadow_deny)
        allow = rbac.judged(rbac.ALLOW, tree(rules.allow, _DEFAULT_DENY), shadow_allow)
        yield rbac.policy_resource(rbac.deny_name(where), deny)
        yield rbac.policy_resource(rbac.allow_name(where), allow)

    def _authority_policies(self, found: dict[str, rbac.PortRules]) -> Iterator[tuple[str, Resource]]:
        """The same by `host:port`: an authority that is no key was never declared, and is denied."""

        def tree(kind: str, end: predicates.Fields) -> predicates.Fields:
            chosen = {name: getattr(rules, kind) for name, rules in found.items()}
            return matcher.by_authority(
                {name: matcher.first_of(some, on_proxied) for name, some in chosen.items() if some}, end
            )

        deny = rbac.judged(rbac.DENY, tree("deny", _NO_DENY), tree("shadow_deny", _NO_DENY))
        allow = rbac.judged(rbac.ALLOW, tree("allow", _DEFAULT_DENY), tree("shadow_allow", _DEFAULT_DENY))
        yield rbac.policy_resource(rbac.deny_name(EGRESS), deny)
        yield rbac.policy_resource(rbac.allow_name(EGRESS), allow)

    def _cluster(self, name: str, upstream: Upstream, *, tls: bool) -> tuple[str, Resource]:
        external, port = self._declared(upstream)
        traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
        return outside_cluster(name, external, port, tls=tls, roots=self._roots, traffic=traffic)


# What the policy denies has no route either.
_NOWHERE = http.refusal("undeclared", 403, "this host is not declared as External")
_CONNECT: dict[str, Any] = {"upgrade_type": "CONNECT"}


def on_proxied(rule: Rule) -> Sequence[predicates.Fields]:
    """The conditions of a rule at the forward proxy, which cannot see into a tunnel.

    A deny of some requests therefore denies the tunnel as a whole; an allow of some requests does not allow it.
    """
    wanted = matcher.on_requests(rule)
    if wanted and rule.effect is Effect.DENY:
        return (*wanted, predicates.is_method("CONNECT"))
    return wanted


def _authorities(external: External, port: ExternalPort, taken: Any) -> list[str]:
    """How a client may spell the host: with its port, and without for the default port of the scheme `http`."""
    host = f"[{external.host}]" if ":" in external.host else external.host
    spelled = [f"{host}:{port.number}"]
    if port.number == 80:  # noqa: PLR2004  # RFC 9110 section 4.2.1
        spelled.append(host)
    return [name for name in spelled if name not in taken]


def _host(name: str, domains: list[str], tunnel: str, plain: dict[str, Any] | None) -> dict[str, Any]:
    connect = {"match": {"connect_matcher": {}}, "route": {"cluster": tunnel, "upgrade_configs": [_TUNNEL]}}
    routes: list[dict[str, Any]] = [connect]
    if plain:
        routes.append({"match": {"prefix": "/"}, "route": plain})
    return {"name": name, "domains": domains, "routes": routes}


_TUNNEL: dict[str, Any] = {"upgrade_type": "CONNECT", "connect_config": {}}
