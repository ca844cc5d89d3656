"""Content hashes of what documents mean: stable under comments, order, spelling and neighbours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.externals import External
from ringfence.policy.fabrics import Fabric, FabricGrant
from ringfence.policy.model import Destination, HttpMatch, Mesh, Port, Rule, Workload
from ringfence.policy.paths import PathPattern
from ringfence.policy.scope import source_prefix
from ringfence.policy.tokens import TokenIssuer
from ringfence.policy.traffic import Traffic


def digest(meaning: object) -> str:
    """SHA-256 of the canonical JSON of *meaning*, 64 hex digits."""
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def spelled_source(source: Source, trust_domain: TrustDomain) -> str:
    """The exact SPIFFE ID, or the prefix with a `*` behind it, and where they call from where that is asked."""
    who = str(source.identity) if source.identity is not None else f"{source_prefix(source, trust_domain)}*"
    return f"{who} from {' '.join(source.cidrs)}" if source.cidrs else who


def rule_meaning(rule: Rule, trust_domain: TrustDomain) -> dict[str, Any]:
    """What a rule does, without who wrote it, why and where."""
    said = {
        "effect": rule.effect.value,
        "mode": rule.mode.value,
        "from": sorted(spelled_source(source, trust_domain) for source in rule.sources),
        "to": sorted(spelled_destination(destination) for destination in rule.destinations),
        "http": sorted((_http(match) for match in rule.http), key=digest),
        "expires": int(rule.expires.timestamp() * 1_000_000) if rule.expires is not None else None,
    }
    more = {"jwt": _plain(rule.token)} if rule.token is not None else {}
    more |= {"plaintext": list(rule.plaintext)} if rule.plaintext is not None else {}
    more |= {"serverNames": list(rule.server_names)} if rule.server_names else {}
    return said | more


def spelled_destination(destination: Destination) -> str:
    """`namespace/name/port`."""
    return f"{destination.key}/{destination.port}"


def _number(port: Port) -> int | list[int]:
    """The number, or both ends of a range."""
    return [port.number, port.last] if port.last else port.number


def _served(port: Port) -> list[Any]:
    """A port without plaintext and limit means what it did before there were such things."""
    said: list[Any] = [port.name, _number(port), port.socket, port.protocol.value]
    said += [port.plaintext.meaning()] if port.plaintext is not None else []
    return [*said, {"connections": port.max_connections}] if port.max_connections else said


def workload_meaning(workload: Workload) -> dict[str, Any]:
    """Everything about a workload but where it was written."""
    return {
        "id": str(workload.identity),
        "role": workload.role,
        "match": _sets(workload.match),
        "launch": _sets(workload.launch),
        "serves": sorted(_served(port) for port in workload.serves),
        "ttl": [workload.x509_ttl.total_seconds(), workload.jwt_ttl.total_seconds()],
        "dns": sorted(workload.dns_names),
    } | ({"rank": workload.rank} if workload.rank else {})


def external_meaning(external: External) -> dict[str, Any]:
    """Everything about an external host but where it was written."""
    return {
        "key": external.key,
        "host": external.host,
        "address": external.address,
        "ports": sorted(
            [p.name, p.number, p.protocol.value, "passthrough" if p.passthrough else p.tls] for p in external.ports
        ),
        "ca": external.ca_pem,
    } | ({"dynamic": _plain(external.dynamic)} if external.dynamic is not None else {})


def mesh_meaning(mesh: Mesh) -> dict[str, Any]:
    """Everything about the mesh."""
    return {
        "trust_domain": mesh.trust_domain.name,
        "ttl": [mesh.x509_ttl.total_seconds(), mesh.jwt_ttl.total_seconds()],
    }


def issuer_meaning(issuer: TokenIssuer) -> dict[str, Any]:
    """Everything about an issuer of tokens but where it was written."""
    said = {each.name: _plain(getattr(issuer, each.name)) for each in fields(issuer) if each.name != "origin"}
    return said if issuer.source is not None else {name: value for name, value in said.items() if name != "source"}


def traffic_meaning(traffic: Traffic) -> dict[str, Any]:
    """Everything about the traffic of a port but where it was written."""
    return {each.name: _plain(getattr(traffic, each.name)) for each in fields(traffic) if each.name != "origin"}


def fabric_meaning(fabric: Fabric) -> dict[str, Any]:
    """Everything about a fabric but where it was written."""
    return {each.name: _plain(getattr(fabric, each.name)) for each in fields(fabric) if each.name != "origin"}


def grant_meaning(grant: FabricGrant, trust_domain: TrustDomain) -> dict[str, Any]:
    """Everything about a grant of a fabric but where it was written; the time in microseconds."""
    return {
        "key": grant.key,
        "fabric": grant.fabric,
        "identities": sorted(spelled_source(source, trust_domain) for source in grant.sources),
        "job": grant.job,
        "owner": grant.owner,
        "reason": grant.reason,
        "expires": int(grant.expires.timestamp() * 1_000_000),
    }


def revision(
    mesh: Mesh,
    workloads: Iterable[Workload],
    externals: Iterable[External],
    rules: Iterable[Rule],
    traffic: Iterable[Traffic] = (),
    issuers: Iterable[TokenIssuer] = (),
    fabrics: Iterable[Fabric] = (),
    grants: Iterable[FabricGrant] = (),
) -> str:
    """The content hash of a whole model, owners and reasons included, places not."""
    meaning = {
        "mesh": mesh_meaning(mesh),
        "workloads": sorted((workload_meaning(w) for w in workloads), key=digest),
        "externals": sorted((external_meaning(e) for e in externals), key=digest),
        "rules": sorted([rule.id, rule.hash, rule.owner, rule.reason] for rule in rules),
    }
    more = {
        "traffic": sorted((traffic_meaning(each) for each in traffic), key=digest),
        "issuers": sorted((issuer_meaning(each) for each in issuers), key=digest),
        "fabrics": sorted((fabric_meaning(each) for each in fabrics), key=digest),
        "fabricGrants": sorted((grant_meaning(each, mesh.trust_domain) for each in grants), key=digest),
    }
    # A set without any of these keeps the revision it had.
    return digest(meaning | {name: said for name, said in more.items() if said})


def _http(match: HttpMatch) -> dict[str, Any]:
    said: dict[str, Any] = {
        "methods": sorted(match.methods),
        "paths": sorted(pattern.text for pattern in match.paths),
    }
    if match.headers:  # a rule without any keeps the hash it had
        said["headers"] = sorted(([h.name, h.exact, h.prefix] for h in match.headers), key=digest)
    return said


def _sets(alternatives: Iterable[Iterable[Selector]]) -> list[list[str]]:
    return sorted(sorted(str(selector) for selector in one) for one in alternatives)


def _plain(value: object) -> object:
    """A frozen value as JSON has it; sets are sorted, tuples keep their order, since it may mean something."""
    if is_dataclass(value) and not isinstance(value, PathPattern):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, PathPattern):
        return value.text
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, frozenset):
        return sorted(str(one) for one in value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
