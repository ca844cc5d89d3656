"""`ringfence run --proxyless` and `grpc-bootstrap` with the real server, agent and gRPC: served, dialled, rotated."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from tests.e2e.library import Told
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE, Stack, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("proxyless")]

TARGET = "xds:///registry.shared:rpc"
INTENT = """\
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {launch: {by: [{unix.uid: UID}]}}
---
kind: Workload
metadata: {name: tester, namespace: team-b}
spec: {match: [{unix.uid: UID}]}
---
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  launch: {by: [{unix.uid: UID}]}
  serves: [{name: rpc, port: RPC, protocol: grpc}, {name: http, port: WEB, protocol: http}]
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}, {workload: tester, namespace: team-b}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  http: [{paths: ["/pkg.Models/*"]}]
  owner: ml
  reason: base model
"""


def told(stack: Stack, name: str, *command: str, **environment: str) -> Told:
    """A process of this mesh that ends with it."""
    process = Told(stack.folder / f"{name}.log", *command, **environment)
    stack.exits.callback(process.end)
    return process


def run(stack: Stack, key: str) -> Told:
    """`ringfence run --proxyless` of a workload, ready to be told."""
    namespace, _, name = key.partition("/")
    base = stack.folder / name
    base.mkdir(exist_ok=True)
    flags = ("--socket", str(stack.socket), "--name", name, "--namespace", namespace, "--proxyless", "--")
    return told(stack, name, *RINGFENCE, "run", *flags, XDG_RUNTIME_DIR=str(base))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A mesh of one server, one agent and whatever is run."""
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        text = INTENT
        for fact, value in {"UID": os.geteuid(), "RPC": free_port(), "WEB": free_port()}.items():
            text = text.replace(fact, str(value))
        with running_stack(Path(name), text) as running:
            yield running


@pytest.fixture(scope="module")
def registry(stack: Stack) -> Told:
    """The registry, which serves where its environment says."""
    process = run(stack, "shared/registry")
    environment = json.loads(process.do("environment"))
    assert process.do("serve", at=environment["RINGFENCE_LISTEN_RPC"], drain_ms=200) == "started"
    until(lambda: any(p.inbound for p in stack.admin.ListProxies(admin.ListProxiesRequest()).proxies), "the registry")
    return process


def test_a_command_finds_targets_and_its_files_and_no_proxy(stack: Stack, registry: Told):
    """By the same variables as with one; every file is the user's own, and gone with the run."""
    trainer = run(stack, "team-a/trainer")
    environment = json.loads(trainer.do("environment"))
    assert environment["RINGFENCE_UPSTREAM_REGISTRY_RPC"] == TARGET
    assert environment["RINGFENCE_IDENTITY"] == "spiffe://example.org/ns/team-a/sa/trainer"
    assert environment["GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE"] == "true"
    assert trainer.do("call", target=TARGET, path="/pkg.Models/Get") == f"OK {environment['RINGFENCE_IDENTITY']}"
    assert trainer.do("call", target=TARGET, path="/pkg.Admin/Get").startswith("PERMISSION_DENIED")

    bootstrap = Path(environment["GRPC_XDS_BOOTSTRAP"])
    assert stat.S_IMODE(bootstrap.parent.stat().st_mode) == 0o700
    files = [bootstrap, *(path.resolve() for path in (bootstrap.parent / "svid").iterdir() if path.name[0] != ".")]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert trainer.end() == 0
    assert not bootstrap.parent.exists()


def test_what_needs_a_proxy_is_said_and_shown(stack: Stack, registry: Told):
    """On stderr for whoever runs it, and in the row of the process for the operator."""
    assert "port http, served by http, needs a proxy" in registry.log()
    rows = [p for p in stack.admin.ListProxies(admin.ListProxiesRequest()).proxies if p.inbound]
    assert [row.detail for row in rows] == ["http: http needs a proxy to be served"]


def test_new_keys_of_everybody_reach_open_channels(stack: Stack, registry: Told):
    """Another authority signs: agent, files and library follow, and no call fails meanwhile."""
    trainer = run(stack, "team-a/trainer")
    folder = Path(json.loads(trainer.do("environment"))["GRPC_XDS_BOOTSTRAP"]).parent / "svid"
    before = (folder / "svid.pem").read_bytes()
    assert trainer.do("call", target=TARGET, path="/pkg.Models/Get").startswith("OK")
    stack.admin.Rotate(admin.RotateRequest(authority=True))

    def renewed() -> bool:
        assert trainer.do("call", target=TARGET, path="/pkg.Models/Get").startswith("OK")
        return (folder / "svid.pem").read_bytes() != before

    until(renewed, "new files", 60)
    # gRPC looks at its files once a second; a channel that is opened anew shows the new certificate.
    for _ in range(20):
        trainer.do("forget", target=TARGET)
        assert trainer.do("call", target=TARGET, path="/pkg.Models/Get").startswith("OK")
    trainer.end()


def test_a_process_may_bring_its_own_files_and_bootstrap(stack: Stack, registry: Told):
    """`svid write` and `grpc-bootstrap` beside each other, for what `run` does not start."""
    folder = stack.folder / "svid"
    socket = ("--socket", str(stack.socket))
    code, out = stack.ringfence("svid", "write", *socket, "--dir", str(folder), "--bundle-map-file", "bundle-map.json")
    assert code == 0, out
    bootstrap = stack.folder / "grpc.json"
    code, out = stack.ringfence(
        "grpc-bootstrap", "--server", stack.listen, "--dir", str(folder), "--out", str(bootstrap)
    )
    assert (code, out) == (0, "")
    assert stat.S_IMODE(bootstrap.stat().st_mode) == 0o600
    tester = told(stack, "tester", GRPC_XDS_BOOTSTRAP=str(bootstrap), GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE="true")
    said = tester.do("call", target=TARGET, path="/pkg.Models/Get")
    assert said == "OK spiffe://example.org/ns/team-b/sa/tester"
