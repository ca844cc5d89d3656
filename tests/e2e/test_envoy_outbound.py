"""Two real Envoys: what a workload reaches in the mesh and outside, and what it does not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import Any

import grpc
import pytest

from ringfence.policy.model import Model
from ringfence.xds import decision
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from tests.e2e.identities import Domain, secrets, web_server
from tests.e2e.outside import tunnel
from tests.e2e.plane import Plane, until
from tests.e2e.proxies import Answer, Caller, envoy, http_app, listening, tcp_app
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves:
  - {name: http, port: APP_PORT, protocol: http}
  - {name: rpc, port: RPC_PORT, protocol: grpc}
  - {name: db, socket: db.sock, protocol: postgres}
---
kind: External
metadata: {name: hub, namespace: shared}
spec:
  host: hub.example
  address: 127.0.0.1
  ports: [{name: https, port: HUB_PORT, protocol: http, tls: true}]
  ca: |
CA_PEM
---
kind: External
metadata: {name: impostor, namespace: shared}
spec:
  host: other.example
  address: 127.0.0.1
  ports: [{name: https, port: HUB_PORT, protocol: http, tls: true}]
  ca: |
CA_PEM
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: db}]
  owner: ml
  reason: rows
---
kind: Allow
metadata: {name: calls, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  http: [{paths: ["/registry.Models/Get"]}]
  owner: ml
  reason: calls
---
kind: Allow
metadata: {name: hub, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{external: hub, namespace: shared, port: https}, {external: impostor, namespace: shared, port: https}]
  HUB_HTTP
  owner: ml
  reason: base models from outside
"""
INTENT = intent.joined(intent.MESH, intent.TRAINER, RULES)
DENY = """---
kind: Deny
metadata: {name: no-delete, namespace: shared}
spec:
  from: [{namespace: team-a}]
  to: [{external: hub, port: https}]
  http: [{methods: [DELETE]}]
  owner: ml
  reason: nobody deletes
"""
READ_ONLY = "http: [{methods: [GET], paths: ['/api/**']}]"


class Bench:
    """A trainer's and a registry's Envoy."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        identity, ca = web_server("hub.example")
        self.ca = ca.decode()
        (folder / "hub.pem").write_bytes(identity.chain + identity.key)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "hub.pem")
        self.hub = stack.enter_context(http_app(tls))
        self.app = stack.enter_context(http_app())
        self.rpc = stack.enter_context(_rpc_app())
        stack.enter_context(tcp_app(str(folder / "db.sock")))
        self.own = Domain("example.test")
        self.ports = {name: free_port() for name in ("http", "db", "rpc")}
        self.to = {
            name: ("127.0.0.1", free_port())
            for name in ("registry.shared/http", "registry.shared/db", "registry.shared/rpc", "hub.shared/https")
        }
        self.egress = free_port()
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        model = self.apply("")
        for node, key in (("registry", "shared/registry"), ("trainer", "team-a/trainer")):
            self.plane.secrets[node] = secrets(self.own, model.workloads[key].spiffe_id)
            stack.enter_context(envoy(node, self.plane.port, str(folder / "agent.sock"), folder))
        for port in (*self.ports.values(), *(port for _, port in self.to.values()), self.egress):
            listening(port)

    def apply(self, hub_http: str, *, more: str = "", registry_at: int | None = None) -> Model:
        """Compile for both and push."""
        text = INTENT.replace("APP_PORT", str(self.app)).replace("HUB_PORT", str(self.hub))
        text = text.replace("RPC_PORT", str(self.rpc)).replace("CA_PEM", indent(self.ca, "    "))
        model = intent.model_of(text.replace("HUB_HTTP", hub_http) + more, now=datetime.now(UTC))
        registry = Instance(
            "registry",
            inbound={name: ("127.0.0.1", port) for name, port in self.ports.items()},
            socket_dir=str(self.folder),
        )
        trainer = Instance("trainer", upstream=self.to, egress=("127.0.0.1", self.egress))
        endpoints = {
            ("shared/registry", name): (Endpoint("127.0.0.1", port),)
            for name, port in (self.ports | ({"http": registry_at} if registry_at else {})).items()
        }
        for instance, key in ((registry, "shared/registry"), (trainer, "team-a/trainer")):
            workload = model.workloads[key]
            snapshot = compile_snapshot(model, workload, instance, endpoints, now=datetime.now(UTC))
            self.plane.snapshots.setdefault(instance.node_id, snapshot)
            self.plane.serve(instance.node_id, snapshot)
        return model

    def upstream(self, name: str) -> Caller:
        """A connection to the loopback listener of an upstream."""
        return Caller(self.to[name][1])

    def proxied(self, method: str, authority: str, path: str) -> Answer:
        """One absolute-form request to the forward proxy."""
        with Caller(self.egress) as caller:
            return caller.ask(method, f"http://{authority}{path}", host=authority)


def _rpc_app() -> Any:
    """A gRPC application that sends back what comes."""

    class Echo(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:  # noqa: ARG002  # the interface
            return grpc.unary_unary_rpc_method_handler(lambda data, _: data)

    stack = ExitStack()
    server = grpc.server(stack.enter_context(ThreadPoolExecutor(2)))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stack.callback(lambda: server.stop(0).wait())

    class Served:
        def __enter__(self) -> int:
            return port

        def __exit__(self, *exc: object) -> None:
            stack.close()

    return Served()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack:
        yield Bench(tmp_path_factory.mktemp("e"), stack)


def test_a_call_goes_through_both_proxies_in_one_trace(bench: Bench):
    """Plain HTTP on loopback becomes mutual TLS; the id on the response is that of the inbound decision."""
    with bench.upstream("registry.shared/http") as caller:
        answer = caller.ask("GET", "/models/a")
        refused = caller.ask("PUT", "/models/a")
    assert (answer.status, refused.status) == (200, 403)
    log = bench.plane.log(trace_id=refused.headers[decision.RESPONSE_HEADER], point=decision.POINT_HTTP)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="default-deny@builtin")
    assert log[decision.PEER] == "spiffe://example.test/ns/team-a/sa/trainer"
    assert bench.plane.nacks == []


def test_tcp_goes_through_both_proxies(bench: Bench):
    """What a database client sends arrives, though the application greets first."""
    with socket.create_connection(bench.to["registry.shared/db"], timeout=30) as client:
        client.sendall(b"rows")
        assert until(lambda: b"rows" in client.recv(64), "the echo")


def test_grpc_is_judged_by_method(bench: Bench):
    """A method that is allowed answers; another is PERMISSION_DENIED, as gRPC says it."""
    with grpc.insecure_channel("127.0.0.1:{}".format(bench.to["registry.shared/rpc"][1])) as channel:
        assert channel.unary_unary("/registry.Models/Get")(b"ping", timeout=30) == b"ping"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/registry.Models/Delete")(b"ping", timeout=30)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_server_with_another_identity_is_not_spoken_to(bench: Bench):
    """An endpoint that proves the wrong name of the right domain gets no request; the log says what it proved."""
    identity = bench.own.issue(bench.apply("").workloads["team-a/trainer"].spiffe_id)
    (bench.folder / "wrong.pem").write_bytes(identity.chain + identity.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.folder / "wrong.pem")
    with http_app(context) as wrong:
        try:
            bench.apply("", registry_at=wrong)
            with bench.upstream("registry.shared/http") as caller:
                until(lambda: caller.ask("GET", "/models/a").status == 503, "the refusal")
            log = bench.plane.log(point=decision.POINT_OUTBOUND, code="503")
            assert "CERTIFICATE_VERIFY_FAILED" in log[decision.UPSTREAM_FAILURE]
            assert decision.decide(log) is None
        finally:
            bench.apply("")
    with bench.upstream("registry.shared/http") as caller:
        until(lambda: caller.ask("GET", "/models/a").status == 200, "the right one again")


def test_a_declared_host_outside_is_reached_with_tls_by_the_proxy(bench: Bench):
    """The program speaks plain HTTP to loopback; the host sees TLS and its own name."""
    with bench.upstream("hub.shared/https") as caller:
        answer = caller.ask("GET", "/api/models?x=1")
    assert answer.status == 200
    assert answer.echoed["path"] == "/api/models?x=1"
    log = bench.plane.log(point=decision.POINT_EGRESS, trace_id=answer.headers[decision.RESPONSE_HEADER])
    decided = decision.decide(log)
    assert decided is not None
    assert decided.allowed
    assert decided.policy_id.startswith("team-a/hub@")


def test_a_declared_host_is_reached_through_the_forward_proxy(bench: Bench):
    """`http_proxy` works for what is declared: absolute-form, TLS from the proxy on."""
    answer = bench.proxied("GET", f"hub.example:{bench.hub}", "/api/models")
    assert (answer.status, answer.echoed["path"]) == (200, "/api/models")


def test_an_undeclared_host_is_denied_by_name(bench: Bench):
    """No way out but the declared ones, whatever a program tries; the denial is a decision like any other."""
    answer = bench.proxied("GET", "evil.example", "/steal")
    assert answer.status == 403
    log = bench.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER])
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="default-deny@builtin")
    assert (log[decision.POINT], log[decision.AUTHORITY]) == (decision.POINT_EGRESS, "evil.example")


def test_a_tunnel_leads_to_declared_hosts_only(bench: Bench):
    """CONNECT: the program's own TLS ends at the declared host; any other host or port is 403."""
    with tunnel(bench.egress, f"hub.example:{bench.hub}") as (raw, status):
        assert status == 200
        context = ssl.create_default_context(cadata=bench.ca)
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
        with context.wrap_socket(raw, server_hostname="hub.example") as tls:
            tls.sendall(b"GET /api/x HTTP/1.1\r\nhost: hub.example\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
    for authority in ("evil.example:443", "hub.example:22", f"127.0.0.1:{bench.app}"):
        with tunnel(bench.egress, authority) as (_, status):
            assert status == 403, authority


def test_a_rule_about_requests_opens_no_tunnel_and_changes_at_once(bench: Bench):
    """Inside a tunnel nobody can see methods and paths: a rule that asks for them does not allow it."""
    try:
        bench.apply(READ_ONLY)
        authority = f"hub.example:{bench.hub}"
        until(lambda: bench.proxied("PUT", authority, "/api/x").status == 403, "the narrower rule")
        assert bench.proxied("GET", authority, "/api/x").status == 200
        assert bench.proxied("GET", authority, "/api/../admin").status == 403
        with tunnel(bench.egress, authority) as (_, status):
            assert status == 403
        with bench.upstream("hub.shared/https") as caller:
            assert caller.ask("GET", "/admin").status == 403
    finally:
        bench.apply("")


def test_a_deny_of_some_requests_closes_the_tunnel(bench: Bench):
    """What a rule forbids could happen unseen inside a tunnel: it is not opened, though an Allow names the host."""
    authority = f"hub.example:{bench.hub}"
    try:
        bench.apply("", more=DENY)
        until(lambda: bench.proxied("DELETE", authority, "/api/x").status == 403, "the deny")
        assert bench.proxied("GET", authority, "/api/x").status == 200
        with tunnel(bench.egress, authority) as (_, status):
            assert status == 403
    finally:
        bench.apply("")
    until(lambda: bench.proxied("DELETE", authority, "/api/x").status == 200, "the end of the deny")


def test_a_host_with_another_name_on_its_certificate_is_not_spoken_to(bench: Bench):
    """`other.example` leads to the hub's machine: the certificate does not name it, so nothing is sent."""
    answer = bench.proxied("GET", f"other.example:{bench.hub}", "/api/x")
    assert answer.status == 503
