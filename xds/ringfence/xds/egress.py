"""What a workload may reach outside the mesh: by name only, with TLS from the proxy on and the name checked.

Two ways lead there: a loopback listener a declared upstream, and one forward proxy for programs that know
`http_proxy`. Whatever is not declared and allowed is answered 403 by the named default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ringfence.policy.evaluate import in_force
from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.model import DEFAULT_DENY, NO_DENY, Destination, Effect, Model, Rule, Workload, named
from ringfence.policy.scope import Upstream, narrowest
from ringfence.xds import connection_rbac, decision, dynamic, http, matcher, predicates, ranges, rbac, tcp
from ringfence.xds.dynamic import Wild
from ringfence.xds.instance import Address
from ringfence.xds.outbound import loopback, outbound_name
from ringfence.xds.outside import is_looked_up, look_up, outside_cluster
from ringfence.xds.routing import outside_action
from ringfence.xds.snapshot import Resource
from ringfence.xds.telemetry import Reporter

EGRESS = "egress"
_HTTP = 80  # of the scheme `http` (RFC 9110 section 4.2.1)
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
        looked_up, private = is_looked_up(external, port), _takes_private([external])
        yield self._cluster(where, upstream, tls=port.tls, private=private, looked_up=looked_up)
        if not upstream.protocol.is_http:
            served = self._connections(where, external, port, rules)
            inspected = [ranges.inspector()] if port.passthrough else []
            yield loopback(
                where, address, served, listener_filters=inspected, **self._refused(where, external, port, rules)
            )
            return
        traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
        if external.dynamic is None:
            yield from self._policies(where, lambda some, end: matcher.sequence(some, matcher.on_requests, end), rules)
            yield http.one_route(where, where, host_rewrite_literal=external.host, **outside_action(traffic))
            yield loopback(where, address, [self._manager(where)], http.needs(where))
            return
        wild = self._wild(external, port, default=True)
        yield from self._policies(where, lambda some, end: wild.tree(some, matcher.on_requests, end), rules)
        yield http.one_route(where, where, **outside_action(traffic))
        manager = self._manager(where, [dynamic.http_filter(private=_takes_private([external]))])
        yield loopback(where, address, [manager], http.needs(where))

    def forward_proxy(self, upstreams: Sequence[Upstream], address: Address) -> Iterator[tuple[str, Resource]]:
        """The forward proxy for absolute-form requests and CONNECT; *upstreams* are those outside."""
        hosts = []
        starred = [each for each in (self._declared(one)[0] for one in upstreams) if each.dynamic is not None]
        private = _takes_private(starred)  # they share one look-up, which takes what all of them take
        taken: set[str] = set()
        exact: dict[str, rbac.PortRules] = {}
        wild: dict[Wild, rbac.PortRules] = {}
        for upstream in upstreams:
            external, port = self._declared(upstream)
            names = [name for name in _authorities(external, port) if name not in taken]
            taken.update(names)
            rules = self._rules(Destination(upstream.key, upstream.port))
            if external.dynamic is None:
                exact |= dict.fromkeys(names, rules)
            else:
                wild.setdefault(self._wild(external, port, default=port.number == _HTTP and not port.tls), rules)
            plain, tunnel = f"{EGRESS}/{upstream.name}", f"{EGRESS}/{upstream.name}/tunnel"
            yield self._cluster(tunnel, upstream, tls=False, private=private)
            if port.protocol.is_http:
                yield self._cluster(plain, upstream, tls=port.tls, private=private)
            traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
            host = {"host_rewrite_literal": external.host} if external.dynamic is None else {}
            action = {"cluster": plain, **host, **outside_action(traffic)}
            hosts.append(_host(upstream.name, names, tunnel, action if port.protocol.is_http else None))
        yield from self._authority_policies(exact, wild)
        yield http.routes(EGRESS, [*hosts, _NOWHERE])
        behind = [dynamic.http_filter(private=private)] if starred else []
        manager = self._manager(EGRESS, behind, upgrade_configs=[_CONNECT])
        yield loopback(EGRESS, address, [manager], http.needs(EGRESS))

    def _connections(
        self, where: str, external: External, port: ExternalPort, rules: rbac.PortRules, *, looked_up: bool = True
    ) -> list[dict[str, Any]]:
        """The network filters of a port whose connections are judged, not its requests."""
        log = self._reporter.connections(decision.POINT_EGRESS, where)
        proxy = tcp.proxy(where, where, log, wait_for_data=True)
        there = look_up(external, port)
        if not port.passthrough:
            return [*connection_rbac.constant_filters(where, rules), *there, proxy]
        if external.dynamic is None:

            def asked(verdict: predicates.Fields) -> predicates.Fields:
                return matcher.by_server_name({external.host: verdict}, _DEFAULT_DENY)

            return [*connection_rbac.constant_filters(where, rules, asked), *there, proxy]
        wild = self._wild(external, port, default=False)
        lookup = [dynamic.name_filter(port.number, private=_takes_private([external]))] if looked_up else []
        return [*connection_rbac.constant_filters(where, rules, wild.connections, wild.asked_by), *lookup, proxy]

    def _refused(self, where: str, external: External, port: ExternalPort, rules: rbac.PortRules) -> dict[str, Any]:
        """What a star has beside where TLS passes through: another chain, in which nothing is looked up."""
        if external.dynamic is None or not port.passthrough:
            return {}
        filters = self._connections(where, external, port, rules, looked_up=False)
        chains = self._wild(external, port, default=False).chains(where, rules.deny, rules.allow)
        return {"others": [{"name": dynamic.refused(where), "filters": filters}], "chosen": matcher.as_matcher(chains)}

    def _wild(self, external: External, port: ExternalPort, *, default: bool) -> Wild:
        return Wild.of(external, port, self._model.externals.values(), default=default)

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
            wide = narrowest(rule, self._workload.identity, domain)
            if wide is not None and destination in rule.destinations and in_force(rule, self._now):
                found.append((wide, rule.id, rule))
        return rbac.PortRules.of(domain, (rule for _, _, rule in sorted(found, key=lambda f: f[:2])))

    def _manager(self, where: str, behind: Sequence[dict[str, Any]] = (), **more: Any) -> dict[str, Any]:
        """The connection manager of *where*; filters *behind* see only what the rules allow."""
        log = self._reporter.requests(decision.POINT_EGRESS, where)
        tracing = self._reporter.tracing(where)
        filters = [rbac.path_filter(), *http.policy_filters(where), *behind]
        return http.manager(where, filters=filters, access_log=log, tracing=tracing, **more)

    def _policies(self, where: str, tree: Any, rules: rbac.PortRules) -> Iterator[tuple[str, Resource]]:
        shadow_deny = tree(rules.shadow_deny, _NO_DENY) if rules.shadow_deny else None
        shadow_allow = tree(rules.shadow_allow, _DEFAULT_DENY) if rules.shadow_allow else None
        deny = rbac.judged(rbac.DENY, tree(rules.deny, _NO_DENY), shadow_deny)
        allow = rbac.judged(rbac.ALLOW, tree(rules.allow, _DEFAULT_DENY), shadow_allow)
        yield rbac.policy_resource(rbac.deny_name(where), deny)
        yield rbac.policy_resource(rbac.allow_name(where), allow)

    def _authority_policies(
        self, exact: dict[str, rbac.PortRules], wild: dict[Wild, rbac.PortRules]
    ) -> Iterator[tuple[str, Resource]]:
        """The same by `host:port`: an authority that is no key was never declared, and is denied."""

        def tree(kind: str, end: predicates.Fields) -> predicates.Fields:
            ends = {
                name: matcher.then(matcher.sequence(getattr(rules, kind), on_proxied, end))
                for name, rules in exact.items()
                if wild or getattr(rules, kind)
            }
            starred = [
                branch
                for each, rules in sorted(wild.items(), key=lambda pair: pair[0].order)
                for branch in each.branches(getattr(rules, kind), on_proxied, end)
            ]
            return matcher.by_authority(ends, starred, end)

        deny = rbac.judged(rbac.DENY, tree("deny", _NO_DENY), tree("shadow_deny", _NO_DENY))
        allow = rbac.judged(rbac.ALLOW, tree("allow", _DEFAULT_DENY), tree("shadow_allow", _DEFAULT_DENY))
        yield rbac.policy_resource(rbac.deny_name(EGRESS), deny)
        yield rbac.policy_resource(rbac.allow_name(EGRESS), allow)

    def _cluster(
        self, name: str, upstream: Upstream, *, tls: bool, private: bool, looked_up: bool = False
    ) -> tuple[str, Resource]:
        external, port = self._declared(upstream)
        traffic = self._model.traffic.get(Destination(upstream.key, upstream.port))
        if external.dynamic is not None:
            return dynamic.dynamic_cluster(
                name, external, port, tls=tls, private=private, roots=self._roots, traffic=traffic
            )
        return outside_cluster(name, external, port, tls=tls, roots=self._roots, traffic=traffic, looked_up=looked_up)


def _takes_private(externals: Sequence[External]) -> bool:
    return all(each.dynamic is not None and each.dynamic.private for each in externals)


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


def _authorities(external: External, port: ExternalPort) -> list[str]:
    """How a client may spell the host: with its port, and without for the default port of the scheme `http`."""
    host = f"[{external.host}]" if ":" in external.host else external.host
    spelled = [f"{host}:{port.number}"]
    if port.number == _HTTP:
        spelled.append(host)
    return spelled


def _host(name: str, domains: list[str], tunnel: str, plain: dict[str, Any] | None) -> dict[str, Any]:
    connect = {"match": {"connect_matcher": {}}, "route": {"cluster": tunnel, "upgrade_configs": [_TUNNEL]}}
    routes: list[dict[str, Any]] = [connect]
    if plain:
        routes.append({"match": {"prefix": "/"}, "route": plain})
    return {"name": name, "domains": domains, "routes": routes}


_TUNNEL: dict[str, Any] = {"upgrade_type": "CONNECT", "connect_config": {}}
