"""A real Envoy, and rules about single names below a star: it decides as the evaluator does, by the same rule."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from ringfence.policy.evaluate import Request, Verdict, evaluate
from ringfence.xds import addresses, decision
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from tests.e2e.identities import Domain, secrets, web_server
from tests.e2e.names import name_server
from tests.e2e.outside import tunnel
from tests.e2e.plane import Plane
from tests.e2e.proxies import Answer, Caller, envoy, http_app, listening
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

FORBIDDEN = tuple(ip_network(text) for text in ("0.0.0.0/8", "127.128.0.0/9", "::/127"))  # hosts outside are here
HOSTS = ("a.{}.example", "b.{}.example", "x.eu.{}.example", "bad.eu.{}.example", "eu.{}.example", "own.{}.example")
RULES = """
kind: External
metadata: {name: plain, namespace: shared}
spec:
  host: "*.plain.example"
  dynamic: {labels: many, addresses: private}
  ports: [{name: port, port: APP_PORT, protocol: http, tls: false}]
---
kind: External
metadata: {name: pass, namespace: shared}
spec:
  host: "*.pass.example"
  dynamic: {labels: many, addresses: private}
  ports: [{name: port, port: TLS_PORT, protocol: tcp, tls: passthrough}]
---
kind: External
metadata: {name: owned, namespace: shared}
spec: {host: own.plain.example, ports: [{name: port, port: APP_PORT, protocol: http, tls: false}]}
---
kind: External
metadata: {name: owned-too, namespace: shared}
spec: {host: own.pass.example, ports: [{name: port, port: TLS_PORT, protocol: tcp, tls: passthrough}]}
"""


def rule(to: str, name: str, names: str, kind: str = "Allow", more: str = "") -> str:
    """One for the trainer."""
    return f"""
kind: {kind}
metadata: {{name: {to}-{name}, namespace: team-a}}
spec:
  from: [{{workload: trainer}}]
  to: [{{external: {to}, namespace: shared}}]
  serverNames: {names}
  owner: ml
  reason: tests
  {more}
"""


class Bench:
    """A trainer's Envoy that may reach some names below two stars, all of which are on this host."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.names = stack.enter_context(name_server())
        self.names.addresses = {host.format(star): ["127.0.0.1"] for host in HOSTS for star in ("plain", "pass")}
        identity, _ = web_server("a.pass.example")
        (folder / "server.pem").write_bytes(identity.chain + identity.key)
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(folder / "server.pem")
        self.app, self.tls = stack.enter_context(http_app()), stack.enter_context(http_app(served))
        self.port = {"plain": free_port(), "pass": free_port()}
        self.egress = free_port()
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        rules = [
            text
            for star in ("plain", "pass")
            for text in (
                rule(star, "some", f"[a.{star}.example, '*.eu.{star}.example']"),
                rule(star, "not-bad", f"[bad.eu.{star}.example]", kind="Deny"),
                rule(star, "soon", f"[b.{star}.example]", more="mode: shadow"),
            )
        ]
        rules.append(rule("plain", "reads", "[b.plain.example]", more="http: [{methods: [GET], paths: [/b/**]}]"))
        text = RULES.replace("APP_PORT", str(self.app)).replace("TLS_PORT", str(self.tls))
        self.model = intent.model_of(intent.MESH, intent.TRAINER, text, *rules, now=datetime.now(UTC))
        trainer = self.model.workloads["team-a/trainer"]
        to = {f"{name}.shared/port": ("127.0.0.1", port) for name, port in self.port.items()}
        instance = Instance("trainer", upstream=to, egress=("127.0.0.1", self.egress))
        self.plane.snapshots["trainer"] = compile_snapshot(self.model, trainer, instance, {}, now=datetime.now(UTC))
        self.plane.secrets["trainer"] = secrets(Domain("example.test"), trainer.spiffe_id)
        stack.enter_context(envoy("trainer", self.plane.port, str(folder / "agent.sock"), folder, self.names.port))
        for port in (*self.port.values(), self.egress):
            listening(port)

    def expected(self, star: str, host: str, path: str = "") -> Verdict:
        """What the evaluator says of a call to *host*."""
        caller = self.model.workloads["team-a/trainer"].spiffe_id
        call = Request(caller, f"shared/{star}", "port", datetime.now(UTC), "GET", path, server_name=host)
        return evaluate(self.model, call)

    def decided(self, answer: Answer) -> decision.Decision | None:
        """What the proxy told of a request."""
        trace_id = answer.headers[decision.RESPONSE_HEADER]
        return decision.decide(self.plane.log(point=decision.POINT_EGRESS, trace_id=trace_id))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "LOOPBACK_NETWORKS", FORBIDDEN)
        yield Bench(tmp_path_factory.mktemp("names"), stack)


@pytest.mark.parametrize("path", ["/x", "/b/1"])
@pytest.mark.parametrize("host", [host.format("plain") for host in HOSTS])
def test_requests_below_a_star_are_let_through_by_name(bench: Bench, host: str, path: str):
    """At the loopback address and at the forward proxy: the same rule decides, and no other name is looked up."""
    expected = bench.expected("plain", host, path)
    for port, spelled in ((bench.port["plain"], path), (bench.egress, f"http://{host}:{bench.app}{path}")):
        with Caller(port) as caller:
            answer = caller.ask("GET", spelled, host=f"{host}:{bench.app}")
        assert (answer.status == 200) is expected.allowed, answer
        decided = bench.decided(answer)
        assert decided is not None
        assert (decided.policy_id, decided.allowed) == (expected.policy_id, expected.allowed)
        assert decided.shadow_policy_id == (expected.shadow.policy_id if expected.shadow is not None else "")
    assert bench.plane.nacks == []
    if not any(bench.expected("plain", host, each).allowed for each in ("/x", "/b/1")):
        assert host not in bench.names.asked


@pytest.mark.parametrize("host", [host.format("pass") for host in HOSTS])
def test_tls_below_a_star_is_let_through_by_the_name_that_it_asks_for(bench: Bench, host: str):
    """By SNI: another one is denied before it is looked up, and the record names the rule and the name."""
    expected = bench.expected("pass", host)
    assert _passes(bench, host) is expected.allowed
    decided = decision.decide(bench.plane.log(point=decision.POINT_EGRESS, server_name=host))
    assert decided is not None
    assert (decided.policy_id, decided.allowed) == (expected.policy_id, expected.allowed)
    assert decided.shadow_policy_id == (expected.shadow.policy_id if expected.shadow is not None else "")
    if not expected.allowed:
        assert host not in bench.names.asked


@pytest.mark.parametrize("host", [host.format("pass") for host in HOSTS])
def test_tunnels_are_opened_by_name(bench: Bench, host: str):
    """CONNECT to each name is judged as its TLS would be; 403 before anything is looked up."""
    with tunnel(bench.egress, f"{host}:{bench.tls}") as (_, status):
        assert (status == 200) is bench.expected("pass", host).allowed, status


def test_tls_that_asks_for_no_name_passes_nowhere(bench: Bench):
    """Whichever names the rules open."""
    assert not _passes(bench, None)


def _passes(bench: Bench, asked: str | None) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", bench.port["pass"]), timeout=30) as raw:
        try:
            context.wrap_socket(raw, server_hostname=asked).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True
