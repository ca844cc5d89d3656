"""Who a rule speaks of, and which destinations a workload may reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.identities import Identity, covers
from ringfence.policy.model import Destination, Effect, Model, Protocol, Rule, Workload

_ENV_PREFIX = "RINGFENCE_UPSTREAM_"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A port that some Allow lets a workload reach, and the environment variable that will hold its address."""

    key: str
    port: str
    protocol: Protocol
    external: bool
    env_name: str

    @property
    def name(self) -> str:
        """`name.namespace/port`, as a proxy spells it in its node metadata."""
        namespace, _, name = self.key.partition("/")
        return f"{name}.{namespace}/{self.port}"


def source_prefix(source: Source, trust_domain: TrustDomain) -> str:
    """What every SPIFFE ID of a source without an identity starts with; our identities in `/ringfence/` never do.

    The slash behind the trust domain keeps out those whose names begin with it.
    """
    if source.trust_domain is not None:
        return f"{source.trust_domain.id}/"
    return f"{trust_domain.id}/ns/" + (f"{source.namespace}/" if source.namespace is not None else "")


def matches(source: Source, caller: Identity, trust_domain: TrustDomain) -> bool:
    """Whether *caller* is among those that *source* means; the ranks of a job are when all of them are."""
    named = source.identity
    if named is None:
        return str(caller).startswith(source_prefix(source, trust_domain))
    return caller == named if isinstance(named, SpiffeId) else covers(named, caller)


def breadth(source: Source) -> int:
    """0 for one workload, 1 for a namespace, 2 for a trust domain; a narrower source speaks before a wider one."""
    if source.identity is not None:
        return 0
    return 1 if source.namespace is not None else 2


def narrowest(rule: Rule, caller: Identity, trust_domain: TrustDomain) -> int | None:
    """The smallest breadth by which *rule* means *caller*, wherever it calls from; None when it does not mean it."""
    return min((breadth(s) for s in rule.sources if matches(s, caller, trust_domain)), default=None)


def narrowest_from(rule: Rule, caller: Identity, trust_domain: TrustDomain, address: str) -> int | None:
    """The same for a call from that address; where it is not known an Allow does not mean it, and a Deny does."""
    unknown = rule.effect is Effect.DENY
    here = (s for s in rule.sources if s.admits(address, unknown=unknown))
    return min((breadth(s) for s in here if matches(s, caller, trust_domain)), default=None)


def upstreams_of(model: Model, workload: Workload) -> tuple[Upstream, ...]:
    """What *workload* may reach by any Allow, sorted by key and port.

    A shadow or an expired Allow counts too: the call then ends in a named denial instead of an unknown address.
    """
    wanted = {
        destination
        for rule in model.rules
        if rule.effect is Effect.ALLOW and narrowest(rule, workload.identity, model.mesh.trust_domain) is not None
        for destination in rule.destinations
        if destination.key != workload.key or workload.job  # ranks call each other
    }
    ordered = sorted(wanted, key=lambda d: (d.key, d.port))
    names = _env_names(ordered)
    return tuple(_upstream(model, destination, names[destination]) for destination in ordered)


def routed(model: Model, upstreams: Iterable[Upstream]) -> tuple[Destination, ...]:
    """The ports that routes of *upstreams* lead to and that are none of them, sorted: their rules still judge there."""
    known = {Destination(upstream.key, upstream.port) for upstream in upstreams if not upstream.external}
    reached = {port for own in known if own in model.traffic for port in model.traffic[own].reached()}
    return tuple(sorted(reached - known, key=lambda port: (port.key, port.port)))


def _upstream(model: Model, destination: Destination, env_name: str) -> Upstream:
    external = destination.key in model.externals
    owner = model.externals[destination.key] if external else model.workloads[destination.key]
    port = owner.port(destination.port)
    if port is None:
        raise KeyError(destination)  # the loader resolves every destination: a model cannot hold this
    return Upstream(destination.key, destination.port, port.protocol, external, env_name)


def _env_names(destinations: Iterable[Destination]) -> dict[Destination, str]:
    """The short name where it is unique, else the one with the namespace, else that with a number."""
    short = {d: _env_name(d.key.partition("/")[2], d.port) for d in destinations}
    taken = Counter(short.values())
    names: dict[Destination, str] = {}
    for destination, name in short.items():
        unique = name if taken[name] == 1 else _env_name(*destination.key.split("/"), destination.port)
        number = 2
        while unique in names.values():
            unique = f"{unique.removesuffix(f'_{number - 1}')}_{number}"
            number += 1
        names[destination] = unique
    return names


def _env_name(*parts: str) -> str:
    return _ENV_PREFIX + "_".join(parts).upper().replace("-", "_")
