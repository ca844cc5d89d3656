"""A real Envoy on the way out: where DNS may not lead, and the traffic policy of hosts outside."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfence.xds import decision
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from tests.e2e.identities import Domain, secrets, web_server
from tests.e2e.outside import tunnel
from tests.e2e.plane import Plane
from tests.e2e.proxies import Caller, envoy, http_app, listening
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

# c-ares answers for every name below `localhost` with loopback (RFC 6761), as a resolver does that rebinds a name.
REBOUND = "rebound.localhost"
EXTERNALS = ("rebound", "here", "silent", "vault")
RULES = f"""
kind: External
metadata: {{name: rebound, namespace: shared}}
spec: {{host: {REBOUND}, ports: [{{name: http, port: APP_PORT, protocol: http, tls: false}}]}}
---
kind: External
metadata: {{name: here, namespace: shared}}
spec: {{host: localhost, address: "127.0.0.1:APP_PORT", ports: [{{name: http, port: 80, protocol: http, tls: false}}]}}
---
kind: External
metadata: {{name: vault, namespace: shared}}
spec:
  host: vault.example
  address: 127.0.0.1
  ports: [{{name: http, port: VAULT_PORT, protocol: tcp, tls: passthrough}}]
---
kind: External
metadata: {{name: silent, namespace: shared}}
spec:
  host: silent.example
  address: 127.0.0.1
  ports: [{{name: http, port: SILENT_PORT, protocol: http, tls: false}}]
---
kind: Traffic
metadata: {{name: silent, namespace: shared}}
spec: {{to: {{external: silent}}, timeout: 200ms, limits: {{maxConnections: 10}}}}
---
kind: Allow
metadata: {{name: out, namespace: team-a}}
spec:
  from: [{{workload: trainer}}]
  to: [EXTERNALS]
  owner: ml
  reason: tests
""".replace("EXTERNALS", ", ".join(f"{{external: {name}, namespace: shared}}" for name in EXTERNALS))


class Bench:
    """A trainer's Envoy and an application on this host."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.app = stack.enter_context(http_app())
        identity, ca = web_server("vault.example")
        (folder / "vault.pem").write_bytes(identity.chain + identity.key)
        self.trust = ssl.create_default_context(cadata=ca.decode())
        self.trust.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "vault.pem")
        self.vault = stack.enter_context(http_app(tls))
        self.silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # nobody accepts, so nobody answers
        self.to = {name: ("127.0.0.1", free_port()) for name in (f"{each}.shared/http" for each in EXTERNALS)}
        self.egress = free_port()
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        self.apply()
        domain = Domain("example.test")
        self.plane.secrets["trainer"] = secrets(domain, self.workload.spiffe_id)
        stack.enter_context(envoy("trainer", self.plane.port, str(folder / "agent.sock"), folder))
        for port in (*(port for _, port in self.to.values()), self.egress):
            listening(port)

    def apply(self) -> None:
        """Compile and push."""
        rules = (
            RULES.replace("APP_PORT", str(self.app))
            .replace("VAULT_PORT", str(self.vault))
            .replace("SILENT_PORT", str(self.silent.getsockname()[1]))
        )
        model = intent.model_of(intent.MESH, intent.TRAINER, rules, now=datetime.now(UTC))
        self.workload = model.workloads["team-a/trainer"]
        instance = Instance("trainer", upstream=self.to, egress=("127.0.0.1", self.egress))
        snapshot = compile_snapshot(model, self.workload, instance, {}, now=datetime.now(UTC))
        self.plane.snapshots.setdefault("trainer", snapshot)
        self.plane.serve("trainer", snapshot)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack:
        yield Bench(tmp_path_factory.mktemp("out"), stack)


def test_a_name_that_rebinds_to_this_host_is_denied_by_name(bench: Bench):
    """The rule allows the name; the address that DNS gives for it is the proxy's own host, so nothing is sent."""
    with Caller(bench.to["rebound.shared/http"][1]) as caller:
        refused = caller.ask("GET", "/models")
    assert refused.status == 403
    log = bench.plane.log(point=decision.POINT_EGRESS, trace_id=refused.headers[decision.RESPONSE_HEADER])
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="forbidden-address@builtin")
    with Caller(bench.to["here.shared/http"][1]) as caller:  # the same place, as an operator wrote it
        assert caller.ask("GET", "/models").status == 200


def test_no_tunnel_leads_to_a_rebound_name(bench: Bench):
    """CONNECT is judged by the address as well."""
    with tunnel(bench.egress, f"{REBOUND}:{bench.app}") as (_, status):
        assert status == 403


def test_metadata_services_are_denied_at_the_forward_proxy(bench: Bench):
    """Nobody can declare them, so no authority of theirs is known."""
    for authority in ("169.254.169.254", "metadata.google.internal", "[fd00:ec2::254]", "2852039166"):
        with Caller(bench.egress) as caller:
            refused = caller.ask("GET", f"http://{authority}/latest/meta-data", host=authority)
        assert refused.status == 403, authority


def test_a_host_outside_has_its_traffic_policy(bench: Bench):
    """A host that takes a call and says nothing ends it in 504, after the timeout of its Traffic document."""
    with Caller(bench.to["silent.shared/http"][1]) as caller:
        assert caller.ask("GET", "/models").status == 504
    assert bench.plane.nacks == []


def test_a_workloads_own_tls_passes_through_to_the_host_that_it_asks_for(bench: Bench):
    """The certificate that it sees is the host's own: the proxy has no key for it and sees nothing within."""
    raw = socket.create_connection(bench.to["vault.shared/http"], timeout=30)
    with bench.trust.wrap_socket(raw, server_hostname="vault.example") as tls:
        tls.sendall(b"GET /secret HTTP/1.1\r\nhost: vault.example\r\n\r\n")
        assert tls.recv(4096).startswith(b"HTTP/1.1 200")
    log = bench.plane.log(point=decision.POINT_EGRESS, server_name="vault.example")
    decided = decision.decide(log)
    assert decided is not None
    assert decided.policy_id.startswith("team-a/out@")


@pytest.mark.parametrize("asked", ["evil.example", "sub.vault.example", "vault.example.evil.test", None])
def test_tls_that_asks_for_another_name_goes_nowhere(bench: Bench, asked: str | None):
    """Nor does TLS that asks for none; the refusal is on record with the name that was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(bench.to["vault.shared/http"], timeout=30) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(raw, server_hostname=asked)
    log = bench.plane.log(point=decision.POINT_EGRESS, server_name=asked or "-")
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="default-deny@builtin")


def test_what_is_not_tls_does_not_pass_through(bench: Bench):
    """A port for TLS is none for anything else."""
    with socket.create_connection(bench.to["vault.shared/http"], timeout=30) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: vault.example\r\n\r\n")
        assert raw.recv(100) == b""
