"""A real Envoy, and hosts outside of which connections are judged: no answer of DNS leads where nothing may lead."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from textwrap import indent

import pytest

from ringfence.xds import addresses, decision
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from tests.e2e.identities import Domain, secrets, web_server
from tests.e2e.names import name_server
from tests.e2e.plane import Plane
from tests.e2e.proxies import envoy, http_app, listening
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"  # hosts outside are here for once; all other loopback is what it always is
FORBIDDEN = tuple(ip_network(text) for text in ("0.0.0.0/8", f"{ELSEWHERE}/32", "127.128.0.0/9", "::/127"))
GOOD = {"plain": "tls: false", "tls": "tls: true", "pass": "tls: passthrough"}
BAD = {
    "loopback": [ELSEWHERE],
    "metadata": ["169.254.169.254"],
    "mapped": [f"::ffff:{ELSEWHERE}"],
    "translated": ["64:ff9b::a9fe:a9fe"],
    "link-local": ["fe80::1"],
    "second": ["127.0.0.3", ELSEWHERE],  # nobody listens at the first
}
GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def external(name: str, port: int, how: str, more: str = "") -> str:
    """A host of which connections alone are judged, and the trainer's leave to reach it."""
    return f"""
kind: External
metadata: {{name: {name}, namespace: shared}}
spec:
  host: {name}.raw.example
  ports: [{{name: raw, port: {port}, protocol: tcp, {how}}}]
{more}
---
kind: Allow
metadata: {{name: to-{name}, namespace: team-a}}
spec: {{from: [{{workload: trainer}}], to: [{{external: {name}, namespace: shared}}], owner: ml, reason: tests}}
"""


class Bench:
    """A trainer's Envoy that asks a name server of the test, and an application, with TLS and without."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.names = stack.enter_context(name_server())
        self.names.addresses = {f"{name}.raw.example": [HERE] for name in GOOD}
        self.names.addresses |= {f"{name}.raw.example": found for name, found in BAD.items()}
        identity, ca = web_server("tls.raw.example")
        (folder / "server.pem").write_bytes(identity.chain + identity.key)
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(folder / "server.pem")
        app, tls = stack.enter_context(http_app()), stack.enter_context(http_app(served))
        self.elsewhere = stack.enter_context(socket.create_server((ELSEWHERE, app)))
        trust = f"  ca: |\n{indent(ca.decode(), '    ')}"
        hosts = [external("plain", app, GOOD["plain"]), external("pass", tls, GOOD["pass"])]
        hosts += [external("tls", tls, GOOD["tls"], trust), *(external(name, app, "tls: false") for name in BAD)]
        self.model = intent.model_of(intent.MESH, intent.TRAINER, *hosts, now=datetime.now(UTC))
        self.port = {name: free_port() for name in (*GOOD, *BAD)}
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        trainer = self.model.workloads["team-a/trainer"]
        instance = Instance("trainer", upstream={f"{name}.shared/raw": (HERE, at) for name, at in self.port.items()})
        self.plane.snapshots["trainer"] = compile_snapshot(self.model, trainer, instance, {}, now=datetime.now(UTC))
        self.plane.secrets["trainer"] = secrets(Domain("example.test"), trainer.spiffe_id)
        stack.enter_context(envoy("trainer", self.plane.port, str(folder / "agent.sock"), folder, self.names.port))
        for port in self.port.values():
            listening(port)

    def ask(self, name: str, wrap: str = "") -> bytes:
        """What comes back for a request on a connection to a host, in TLS that asks for *wrap* if that is said."""
        with ExitStack() as stack:
            raw = stack.enter_context(socket.create_connection((HERE, self.port[name]), timeout=30))
            try:
                if wrap:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    raw = stack.enter_context(context.wrap_socket(raw, server_hostname=wrap))
                raw.sendall(GET)
                return raw.recv(4096)
            except OSError:
                return b""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "LOOPBACK_NETWORKS", FORBIDDEN)
        yield Bench(tmp_path_factory.mktemp("tcp"), stack)


@pytest.mark.parametrize(("name", "wrap"), [("plain", ""), ("tls", ""), ("pass", "pass.raw.example")])
def test_a_host_that_is_declared_is_reached_by_its_name(bench: Bench, name: str, wrap: str):
    """As it is, with TLS of the proxy's own, and with the workload's; the record names the Allow."""
    assert bench.ask(name, wrap).startswith(b"HTTP/1.1 200")
    assert bench.plane.nacks == []
    log = bench.plane.log(point=decision.POINT_EGRESS, listener=f"outbound/{name}.shared/raw")
    allow = next(rule.policy_id for rule in bench.model.rules if rule.name == f"to-{name}")
    assert decision.decide(log) == decision.Decision(allowed=True, policy_id=allow)


def test_tls_that_asks_for_another_name_passes_nowhere(bench: Bench):
    """Where the workload's own TLS passes through, the host is the only name."""
    assert not bench.ask("pass", "tls.raw.example")


@pytest.mark.parametrize("name", sorted(BAD))
def test_no_answer_of_dns_leads_where_nothing_may_lead(bench: Bench, name: str):
    """Loopback, link-local and metadata addresses in every spelling are no answer: the connection ends."""
    assert not bench.ask(name)
    assert f"{name}.raw.example" in bench.names.asked
    bench.elsewhere.setblocking(False)
    with pytest.raises(BlockingIOError):
        bench.elsewhere.accept()
