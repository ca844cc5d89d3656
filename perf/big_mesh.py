"""The mesh of 1,000 services, 2,000 workloads and 5,000 rules that figures about compiling and scoping have in common.

It is the meaning of one document of each kind, repeated: reading 7,000 documents is not what these figures measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import Source
from ringfence.policy.load import load_documents
from ringfence.policy.model import Destination, Model, Rule, Workload

SERVICES, CALLERS = 1000, 1000
DEPENDENCIES = 5  # of each caller
INTENT = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: service, namespace: shared}
spec: {role: serving, match: [{unix.uid: 1002}], serves: [{name: http, port: 8080, protocol: http}]}
---
kind: Workload
metadata: {name: caller, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: caller}]
  to: [{workload: service, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: base model
"""


def service_key(number: int) -> str:
    """The key of a service."""
    return f"shared/service-{number}"


def caller_key(number: int) -> str:
    """The key of a workload that calls some."""
    return f"team-a/caller-{number}"


def dependencies(number: int) -> Iterator[int]:
    """The services that a caller calls."""
    return ((number + step * step) % SERVICES for step in range(1, DEPENDENCIES + 1))


@cache
def model() -> Model:
    """The whole mesh."""
    small = model_of(INTENT)
    service, caller, (pull,) = small.workloads["shared/service"], small.workloads["team-a/caller"], small.rules
    workloads = {service_key(number): _another(service, number) for number in range(SERVICES)}
    workloads |= {caller_key(number): _another(caller, number) for number in range(CALLERS)}
    rules = [
        _rule(pull, workloads[caller_key(who)], workloads[service_key(whom)])
        for who in range(CALLERS)
        for whom in dependencies(who)
    ]
    return replace(small, workloads=workloads, rules=tuple(sorted(rules, key=lambda rule: rule.id)), revision="whole")


def model_of(text: str) -> Model:
    """What *text* means; raises RuntimeError if it is wrong."""
    loaded = load_documents([("intent.yaml", text)])
    if loaded.model is None:
        raise RuntimeError("; ".join(map(str, loaded.findings)))
    return loaded.model


def changed(before: Model, turn: int) -> Model:
    """The same mesh with one rule that says something else."""
    rule = before.rules[turn % len(before.rules)]
    rules = (
        *before.rules[: turn % len(before.rules)],
        _reworded(rule, turn),
        *before.rules[turn % len(before.rules) + 1 :],
    )
    return replace(before, rules=rules, revision=f"turn-{turn}")


def _another(of: Workload, number: int) -> Workload:
    name = f"{of.name}-{number}"
    path = f"/ns/{of.namespace}/sa/{name}"
    return replace(of, name=name, identity=SpiffeId(of.spiffe_id.trust_domain, path))


def _rule(of: Rule, caller: Workload, service: Workload) -> Rule:
    name = f"{caller.name}-{service.name}"
    to = (Destination(service.key, "http"),)
    return replace(of, name=name, sources=(Source(caller.spiffe_id, None),), destinations=to)


def _reworded(rule: Rule, turn: int) -> Rule:
    methods = frozenset({"GET", "HEAD"}) if turn % 2 else frozenset({"GET", "PUT"})
    return replace(rule, http=(replace(rule.http[0], methods=methods),), hash=f"{turn:012x}")
