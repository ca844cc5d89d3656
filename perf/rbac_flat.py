"""What a request takes at an Envoy that judges by 10,000 rules, over what it takes at one that judges by ten."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.mesh import model_of, running_mesh
from tests.ports import free_port

from perf import requests_in_turn
from perf.figure import figure
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import Source
from ringfence.policy.model import Destination, Model, Rule, Workload
from ringfence.xds import codec, rbac
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.types import EXTENSION_CONFIG

NAME = "rbac_flat"
GOAL = 1.03
FEW, MANY = 10, 10_000
LISTED = "shared/listed"  # its proxy is given the same rules as Istio writes them
ALLOW = rbac.allow_name("inbound/http")
INTENT = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: Workload
metadata: {name: few, namespace: shared}
spec: {role: serving, match: [{unix.uid: 1002}], serves: [{name: http, port: APP, protocol: http}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: few, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: base model
"""


def measure() -> dict[str, Any]:
    """The figure `rbac_flat`."""
    requests_in_turn.quiet()
    with TemporaryDirectory() as folder:
        rounds, beside = asyncio.run(_measure(Path(folder)))
    few, many = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(of_many / of_few for of_few, of_many in rounds)
    listed = statistics.median(of_listed for _, of_listed in beside)
    istio = statistics.median(of_listed / of_few for of_few, of_listed in beside)
    return figure(
        NAME,
        (
            f"a request over mutual TLS at an Envoy with {MANY} rules, p50 (the same as Istio's list of `rules`: "
            f"{listed:.0f} us, {istio:.2f}x); ratio: over the limit"
        ),
        many,
        unit="us",
        runs=[of_many for _, of_many in rounds],
        limit=(f"one with {FEW} rules", few),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL,
    )


async def _measure(folder: Path) -> tuple[list[list[float]], list[list[float]]]:
    """Ten rules and many; then, for fewer requests, ten and the list."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await requests_in_turn.application(stack)))
        mesh = await stack.enter_async_context(running_mesh(folder, text, compiler=_as_istio))
        mesh.fleet.apply(_model(text))
        few, many, listed = ports = [free_port() for _ in range(3)]
        for key, port in zip(("shared/few", "shared/many", LISTED), ports, strict=True):
            await mesh.envoy(key, inbound={"http": port})
        await requests_in_turn.connected(mesh, len(ports))
        return (
            await requests_in_turn.medians(mesh, folder, (few, many), stack),
            await requests_in_turn.medians(mesh, folder, (few, listed), stack, rounds=5, requests=20),
        )


def _model(text: str) -> Model:
    """Three services: one with ten rules, two with as many as are many. The caller's comes last in each."""
    small = model_of(text)
    few = small.workloads["shared/few"]
    workloads = dict(small.workloads) | {each.key: each for each in (named(few, "many"), named(few, "listed"))}
    rules = [*many_rules(small, "few", FEW), *many_rules(small, "many", MANY), *many_rules(small, "listed", MANY)]
    return replace(small, workloads=workloads, rules=tuple(sorted(rules, key=lambda rule: rule.id)), revision="many")


def named(of: Workload, name: str) -> Workload:
    """The same workload under another name."""
    return replace(of, name=name, identity=SpiffeId(of.spiffe_id.trust_domain, f"/ns/{of.namespace}/sa/{name}"))


def many_rules(small: Model, service: str, count: int) -> Iterator[Rule]:
    """So many rules into a service, each of another caller; the last means the one that there is."""
    pull, domain = small.rules[0], small.mesh.trust_domain
    to = (Destination(f"shared/{service}", "http"),)
    for number in range(count - 1):
        caller = SpiffeId(domain, f"/ns/team-a/sa/caller-{number}")
        yield replace(pull, name=f"{service}-{number}", sources=(Source(caller, None),), destinations=to)
    yield replace(pull, name=f"{service}-z", destinations=to)


def _as_istio(model: Model, workload: Workload, *arguments: Any, **more: Any) -> Snapshot:
    """The real compiler; the rules of one service become a list of policies, each asked in turn."""
    snapshot = compile_snapshot(model, workload, *arguments, **more)
    if workload.key != LISTED:
        return snapshot
    _, listed = rbac.policy_resource(ALLOW, _policies(model))
    return Snapshot.of(_replaced(snapshot, listed), snapshot.revision)


def _policies(model: Model) -> Any:
    policies = {
        rule.policy_id: {
            "permissions": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}],
            "principals": [{"authenticated": {"principal_name": {"exact": str(rule.sources[0].identity)}}}],
        }
        for rule in model.rules
        if any(port.key == LISTED for port in rule.destinations)
    }
    return codec.build(rbac.HTTP_RBAC, rules={"action": "ALLOW", "policies": policies}, rules_stat_prefix=rbac.ALLOW)


def _replaced(snapshot: Snapshot, by: Resource) -> Iterator[tuple[str, Resource]]:
    for url, named in snapshot.resources.items():
        for name, resource in named.items():
            yield url, by if (url, name) == (EXTENSION_CONFIG, by.name) else resource
