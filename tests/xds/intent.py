"""One intent for the tests of the compiler: a caller, a server of every protocol, two tenants, hosts outside."""

from __future__ import annotations

from datetime import datetime

from ringfence.policy.model import Model
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot
from tests.policy import intent
from tests.policy.intent import NOW

RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves:
  - {name: http, port: 8080, protocol: http}
  - {name: rpc, port: 8081, protocol: grpc}
  - {name: db, socket: .s.PGSQL.5432, protocol: postgres}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/team-a/**"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: db}, {workload: registry, namespace: shared, port: rpc}]
  owner: ml
  reason: rows
  expires: 2026-12-01T00:00:00Z
---
kind: Allow
metadata: {name: hub, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{external: hub, namespace: shared, port: https}]
  owner: ml
  reason: base models
"""
INTENT = intent.joined(intent.MESH, intent.TRAINER, intent.NOTEBOOK, intent.HUB, RULES)
REGISTRY = Instance(
    "r",
    inbound={"http": ("127.0.0.1", 1), "rpc": ("127.0.0.1", 2), "db": ("127.0.0.1", 3)},
    socket_dir="/run/registry",
)
TRAINER = Instance(
    "t",
    upstream={
        "registry.shared/http": ("127.0.0.1", 4),
        "registry.shared/rpc": ("127.0.0.1", 5),
        "registry.shared/db": ("127.0.0.1", 6),
        "hub.shared/https": ("127.0.0.1", 7),
    },
    egress=("127.0.0.1", 8),
)
ENDPOINTS = {("shared/registry", "http"): (Endpoint("10.0.0.2", 1), Endpoint("10.0.0.1", 1))}


def model_of(text: str = INTENT) -> Model:
    """The model of an intent that must be good."""
    return intent.model_of(text)


def snapshot_of(key: str, instance: Instance, text: str = INTENT, now: datetime = NOW) -> Snapshot:
    """The snapshot of one workload's proxy."""
    model = model_of(text)
    return compile_snapshot(model, model.workloads[key], instance, ENDPOINTS, now=now)
