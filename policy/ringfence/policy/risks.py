"""What is permitted and worth knowing of: every setting that leaves something to trust beside an identity."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.evaluate import in_force
from ringfence.policy.externals import External
from ringfence.policy.fabric_risks import note_open_rendezvous, note_shared_partitions
from ringfence.policy.fabrics import Enforcer
from ringfence.policy.findings import Finding, Findings
from ringfence.policy.model import Effect, Mode, Model, Rule

_Risk = tuple[str, str]  # a code, and what it is about


def risks(model: Model, now: datetime) -> tuple[Finding, ...]:
    """All of them by file and place; a rule that has expired at *now* is none."""
    findings = Findings()
    for rule in model.rules:
        if in_force(rule, now):
            for code, what in _of_rule(rule, model.mesh.trust_domain):
                findings.add(code, rule.origin, what)
    for external in model.externals.values():
        for code, what in _of_host(external):
            findings.add(code, external.origin, what)
    for fabric in model.fabrics.values():
        if fabric.enforced_by is Enforcer.NOTHING:
            findings.add("RF1409", fabric.origin, f"{fabric.key} has nothing that enforces it")
    note_shared_partitions(model, findings)
    note_open_rendezvous(model, now, findings)
    return findings.in_order()


def _of_rule(rule: Rule, own: TrustDomain) -> Iterator[_Risk]:
    if rule.plaintext is not None and rule.effect is Effect.ALLOW:
        where = " or ".join(rule.plaintext) or "anywhere"
        yield "RF1401", f"{rule.id} lets in callers without an identity, from {where}"
    if asked := sorted({cidr for source in rule.sources for cidr in source.cidrs}):
        yield "RF1402", f"{rule.id} asks whether a call comes from {' or '.join(asked)}"
    if rule.mode is Mode.SHADOW:
        yield "RF1403", f"{rule.id} is judged and recorded, and {rule.effect.value}s nothing"
    if rule.effect is not Effect.ALLOW:
        return
    if any(_is_everybody(source) for source in rule.sources):
        yield "RF1404", f"{rule.id} lets in every workload of the mesh"
    for domain in sorted({source.trust_domain for source in rule.sources if source.foreign(own)} - {None}, key=str):
        yield "RF1405", f"{rule.id} lets in everybody of {domain}"


def _is_everybody(source: Source) -> bool:
    return source.identity is None and source.namespace is None and source.trust_domain is None


def _of_host(external: External) -> Iterator[_Risk]:
    for port in external.ports:
        if port.passthrough:
            yield "RF1406", f"the proxy of a caller sees no request to {external.host}:{port.number}"
        elif not port.tls:
            yield "RF1407", f"calls to {external.host}:{port.number} leave the mesh without TLS"
    if external.dynamic is not None:
        private = ", at private addresses too" if external.dynamic.private else ""
        yield "RF1408", f"{external.host} is every host below that name{private}"
