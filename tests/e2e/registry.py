"""A registry behind a real Envoy, its intent, and who may call it: shared by the tests of a module."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ringfence.certs.revocation import Revocations
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from tests.e2e.identities import Domain, Identity, secrets
from tests.e2e.plane import Plane
from tests.e2e.proxies import envoy, http_app, listening, tcp_app
from tests.policy import intent
from tests.ports import free_port

WORKLOADS = """
kind: Workload
metadata: {name: evaluator, namespace: team-a}
spec: {match: [{unix.uid: 1004}]}
---
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: APP_PORT, protocol: http}, {name: db, socket: db.sock, protocol: postgres}]
"""
RULES = """
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}, {methods: [PUT], paths: ["/checkpoints/*"]}]
  owner: ml
  reason: base model
---
kind: Deny
metadata: {name: secret, namespace: shared}
spec:
  from: [{namespace: team-a}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/team-a/secret/**"]}]
  owner: ml
  reason: not for training
---
kind: Allow
metadata: {name: public, namespace: shared}
spec:
  from: [{namespace: team-b}, {namespace: team-a}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/public/**"]}]
  owner: ml
  reason: everybody's
---
kind: Allow
metadata: {name: later, namespace: team-b}
spec:
  mode: shadow
  from: [{workload: notebook}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/team-b/**"]}]
  owner: ml
  reason: tried first
---
kind: Deny
metadata: {name: old, namespace: shared}
spec:
  mode: shadow
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/team-a/old/**"]}]
  owner: ml
  reason: to be retired
---
kind: Deny
metadata: {name: watched, namespace: shared}
spec:
  mode: shadow
  from: [{namespace: team-a}]
  to: [{workload: registry, namespace: shared, port: db}]
  owner: ml
  reason: tried first
---
kind: Allow
metadata: {name: guests, namespace: shared}
spec:
  mode: shadow
  from: [{namespace: team-b}]
  to: [{workload: registry, namespace: shared, port: db}]
  owner: ml
  reason: tried first
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: db}]
  owner: ml
  reason: training data
"""
REVOKED = "\n" + RULES.partition("---\n")[2]
NODE = "registry-1"


def model_of(app_port: int, rules: str) -> Model:
    """The model of the workloads and these rules."""
    workloads = WORKLOADS.replace("APP_PORT", str(app_port))
    return intent.model_of(intent.MESH, intent.TRAINER, intent.NOTEBOOK, workloads, rules, now=datetime.now(UTC))


class Bench:
    """One Envoy of the registry with everything around it, shared by the tests of this module."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.own, self.foreign = Domain("example.test"), Domain("other.test")
        self.app_port = stack.enter_context(http_app())
        self.received = stack.enter_context(tcp_app(str(folder / "db.sock")))
        self.http, self.db = free_port(), free_port()
        self.instance = Instance(
            NODE,
            inbound={"http": ("127.0.0.1", self.http), "db": ("127.0.0.1", self.db)},
            socket_dir=str(folder),
        )
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        registry = model_of(self.app_port, RULES).workloads["shared/registry"]
        self.plane.secrets[NODE] = secrets(self.own, registry.spiffe_id, self.foreign)
        self.apply(RULES)
        stack.enter_context(envoy(NODE, self.plane.port, str(folder / "agent.sock"), folder))
        for port in (self.http, self.db):
            listening(port)

    def apply(self, rules: str, revocations: Revocations | None = None) -> Model:
        """Compile and push these rules, and what is revoked."""
        model = with_revoked(model_of(self.app_port, rules), revocations or Revocations())
        workload = model.workloads["shared/registry"]
        snapshot = compile_snapshot(model, workload, self.instance, {}, now=datetime.now(UTC))
        self.plane.snapshots.setdefault(NODE, snapshot)
        self.plane.serve(NODE, snapshot)
        return model

    def tls(self, identity: Identity | str) -> ssl.SSLContext:
        """A client's context by identity, or by `namespace/name` of a workload."""
        if isinstance(identity, str):
            namespace, _, name = identity.partition("/")
            identity = self.own.issue(SpiffeId(self.own.name, f"/ns/{namespace}/sa/{name}"))
        return identity.client(self.folder)


@contextmanager
def registry(folder: Path) -> Iterator[Bench]:
    """A running bench."""
    with ExitStack() as stack:
        yield Bench(folder, stack)


def name_of(connection: socket.socket) -> str:
    """The caller's address as Envoy writes it."""
    host, port = connection.getsockname()
    return f"{host}:{port}"


def connect(bench: Bench, shown: Identity | str) -> ssl.SSLSocket:
    """A connection to the database's port with an SVID, or with one of a workload."""
    raw = socket.create_connection(("127.0.0.1", bench.db), timeout=30)
    return bench.tls(shown).wrap_socket(raw)


def closed(connection: socket.socket) -> bool:
    """Read until the other side ends it; a time-out is an error."""
    try:
        while connection.recv(4096):
            pass
    except (ConnectionError, ssl.SSLError):
        return True
    return True
