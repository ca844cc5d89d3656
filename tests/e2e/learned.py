"""The mesh in which the rules learned are held, who calls in it, and a proxy that nobody has registered yet."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from ringfence.broker.run.admin import ask
from ringfence.broker.run.bootstrap import bootstrap
from ringfence.broker.run.envoy import envoy_arguments, find_envoy
from ringfence.broker.run.plan import Launch, ProxyPlan, Who
from tests.e2e.identities import Identity
from tests.e2e.proxies import http_app
from tests.e2e.stack import TRUST_DOMAIN, Stack, running_stack
from tests.ports import free_port

PREFIX = f"spiffe://{TRUST_DOMAIN}/ns"
CLIENT, NOTEBOOK, WEB, LATE = (
    f"{PREFIX}/{path}" for path in ("team-a/sa/client", "team-b/sa/notebook", "shared/sa/web", "team-a/sa/late")
)
HELD = 16.0  # seconds: longer than the 15 after which an Envoy would go on without
INTENT = """\
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: client, namespace: team-a}
spec: {launch: {by: [{unix.uid: UID}]}}
---
kind: Workload
metadata: {name: notebook, namespace: team-b}
spec: {launch: {by: [{unix.uid: UID}]}}
---
kind: Workload
metadata: {name: tester, namespace: team-a}
spec: {match: [{unix.uid: UID}]}
---
kind: Workload
metadata: {name: web, namespace: shared}
spec:
  launch: {by: [{unix.uid: UID}]}
  serves: [{name: http, port: WEB_HTTP, protocol: http}, {name: db, port: WEB_DB, protocol: tcp}]
---
kind: Workload
metadata: {name: spare, namespace: shared}
spec:
  launch: {by: [{unix.uid: UID}]}
  serves:
    - {name: http, port: SPARE_HTTP, protocol: http}
    - {name: metrics, port: SPARE_METRICS, protocol: http}
---
kind: External
metadata: {name: hub, namespace: shared}
spec:
  host: hub.example
  ports: [{name: http, port: 80, protocol: http, tls: false}]
  address: 127.0.0.1:HUB
---
kind: Allow
metadata: {name: reads, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/public/**"]}]
  owner: ml
  reason: the client's own
---
kind: Allow
metadata: {name: team, namespace: team-a}
spec:
  from: [{namespace: team-a}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{paths: ["/team/**"]}]
  owner: ml
  reason: everybody of the team
---
kind: Deny
metadata: {name: but, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{paths: ["/team/closed"]}]
  owner: ml
  reason: not for the client
---
kind: Deny
metadata: {name: retire, namespace: shared}
spec:
  mode: shadow
  from: [{namespace: team-a}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{paths: ["/public/old"]}]
  owner: ml
  reason: tried first
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec:
  from: [{namespace: team-a}]
  to: [{workload: web, namespace: shared, port: db}]
  owner: ml
  reason: training data
---
kind: Deny
metadata: {name: watch, namespace: shared}
spec:
  mode: shadow
  from: [{workload: client, namespace: team-a}]
  to: [{workload: web, namespace: shared, port: db}]
  owner: ml
  reason: tried first
---
kind: Allow
metadata: {name: out, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{external: hub, namespace: shared}]
  owner: ml
  reason: models from outside
---
kind: Deny
metadata: {name: not-that, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{external: hub, namespace: shared}]
  http: [{paths: ["/secret/**"]}]
  owner: ml
  reason: not from outside
"""
COMES_LATE = """\
---
kind: Workload
metadata: {name: late, namespace: team-a}
spec:
  match: [{unix.uid: UID, unix.path: ENVOY}]
  serves: [{name: http, port: 9, protocol: http}]
"""


class Late:
    """A proxy whose identity nobody has registered yet: it has been waiting since *started*."""

    def __init__(self, stack: Stack) -> None:
        folder = stack.folder / "late"
        folder.mkdir()
        self.admin, self.port = folder / "admin.sock", free_port()
        plan = ProxyPlan(
            who=Who("team-a", "late"),
            node_id="team-a/late/1",
            spiffe_id=LATE,
            launch=Launch(stack.listen, TRUST_DOMAIN, str(stack.socket)),
            served={},
            inbound={"http": f"127.0.0.1:{self.port}"},
            upstream={},
            environment={},
            egress="",
            socket_dir=str(folder),
        )
        config = folder / "envoy.json"
        config.write_text(bootstrap(plan, admin_socket=str(self.admin)))
        self.started = time.monotonic()
        stack.start(envoy_arguments(find_envoy(None), config, concurrency=1), folder / "log")

    def page(self, path: str) -> str:
        """A page of its admin interface."""
        return ask(str(self.admin), path)


@contextmanager
def learned_mesh() -> Iterator[Stack]:
    """The stack with this intent, in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rf-") as name, http_app() as hub:
        facts = {"UID": os.geteuid(), "HUB": hub}
        facts |= {port: free_port() for port in ("WEB_HTTP", "WEB_DB", "SPARE_HTTP", "SPARE_METRICS")}
        text = INTENT
        for fact, value in facts.items():
            text = text.replace(fact, str(value))
        with running_stack(Path(name), text) as running:
            yield running


def tls(stack: Stack, identity: Identity, **more: Any) -> ssl.SSLContext:
    """A caller with that certificate and no proxy of its own."""
    return identity.client(stack.folder, **more)


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to a port of the mesh."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30))


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """How *call* ends."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK
