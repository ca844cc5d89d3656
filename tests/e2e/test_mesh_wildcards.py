"""A real Envoy and hosts with a star: which names it looks up, where DNS may lead it, and whom it believes."""

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

from ringfence.policy.model import Model
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

SILENT = "127.0.0.3"  # nobody listens there
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"  # hosts outside are here for once; all other loopback is what it always is
FORBIDDEN = tuple(ip_network(text) for text in ("0.0.0.0/8", f"{ELSEWHERE}/32", "127.128.0.0/9", "::/127"))
NAMES = {
    "good.models.example": [HERE],
    "other.models.example": [HERE],
    "a.plain.example": [HERE],
    "a.b.plain.example": [HERE],
    "owned.plain.example": [HERE],
    "secret.plain.example": [HERE],
    "good.pass.example": [HERE],
    "a.good.pass.example": [HERE],
    "ok.public.example": [HERE],
}
BAD = {
    "loopback": ELSEWHERE,
    "metadata": "169.254.169.254",
    "azure": "168.63.129.16",
    "mapped": f"::ffff:{ELSEWHERE}",
    "mapped-metadata": "::ffff:169.254.169.254",
    "translated": "64:ff9b::a9fe:a9fe",
    "link-local": "fe80::1",
}
RULES = """
kind: External
metadata: {name: models, namespace: shared}
spec:
  host: "*.models.example"
  dynamic: {labels: one, addresses: private}
  ports: [{name: http, port: TLS_PORT, protocol: http, tls: true}]
  ca: |
CA_PEM
---
kind: External
metadata: {name: plain, namespace: shared}
spec:
  host: "*.plain.example"
  dynamic: {labels: many, addresses: private}
  ports: [{name: http, port: APP_PORT, protocol: http, tls: false}]
---
kind: External
metadata: {name: public, namespace: shared}
spec:
  host: "*.public.example"
  dynamic: {labels: one}
  ports: [{name: http, port: APP_PORT, protocol: http, tls: false}]
---
kind: External
metadata: {name: pass, namespace: shared}
spec:
  host: "*.pass.example"
  dynamic: {labels: one}
  ports: [{name: http, port: TLS_PORT, protocol: tcp, tls: passthrough}]
---
kind: External
metadata: {name: owned, namespace: shared}
spec: {host: owned.plain.example, ports: [{name: http, port: APP_PORT, protocol: http, tls: false}]}
---
kind: External
metadata: {name: secret, namespace: shared}
spec: {host: secret.plain.example, ports: [{name: http, port: APP_PORT, protocol: http, tls: false}]}
---
kind: Allow
metadata: {name: out, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [TO]
  owner: ml
  reason: tests
---
kind: Allow
metadata: {name: reads-plain, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{external: plain, namespace: shared}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: tests
---
kind: Allow
metadata: {name: posts-to-secret, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{external: secret, namespace: shared}]
  http: [{methods: [POST]}]
  owner: ml
  reason: tests
""".replace("TO]", ", ".join(f"{{external: {name}, namespace: shared}}" for name in ("models", "public", "pass")) + "]")
DEFAULT_DENY = decision.Decision(allowed=False, policy_id="default-deny@builtin")


class Bench:
    """A trainer's Envoy that asks a name server of the test, and hosts outside on this one."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.names = stack.enter_context(name_server())
        self.names.addresses = {**NAMES, **{f"{name}.plain.example": [bad] for name, bad in BAD.items()}}
        self.names.addresses |= {f"{name}.pass.example": [bad] for name, bad in BAD.items()}
        self.names.addresses["inner.public.example"] = ["10.0.0.1"]
        for name in ("plain", "pass"):
            self.names.addresses[f"one.{name}.example"] = [SILENT, ELSEWHERE]
            self.names.addresses[f"two.{name}.example"] = [ELSEWHERE, SILENT]
        self.app = stack.enter_context(http_app())
        self.tls = stack.enter_context(http_app(self._server("good.models.example", folder)))
        self.elsewhere = [stack.enter_context(socket.create_server((ELSEWHERE, port))) for port in (self.app, self.tls)]
        self.port = {name: free_port() for name in ("models", "plain", "public", "pass")}
        self.egress = free_port()
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        rules = RULES.replace("APP_PORT", str(self.app)).replace("TLS_PORT", str(self.tls))
        rules = rules.replace("CA_PEM\n", indent(self.ca, "    "))
        self.model: Model = intent.model_of(intent.MESH, intent.TRAINER, rules, now=datetime.now(UTC))
        trainer = self.model.workloads["team-a/trainer"]
        to = {f"{name}.shared/http": ("127.0.0.1", port) for name, port in self.port.items()}
        instance = Instance("trainer", upstream=to, egress=("127.0.0.1", self.egress))
        self.plane.snapshots["trainer"] = compile_snapshot(self.model, trainer, instance, {}, now=datetime.now(UTC))
        self.plane.secrets["trainer"] = secrets(Domain("example.test"), trainer.spiffe_id)
        stack.enter_context(envoy("trainer", self.plane.port, str(folder / "agent.sock"), folder, self.names.port))
        for port in (*self.port.values(), self.egress):
            listening(port)

    def _server(self, host: str, folder: Path) -> ssl.SSLContext:
        identity, ca = web_server(host)
        self.ca = ca.decode()
        (folder / "server.pem").write_bytes(identity.chain + identity.key)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.pem")
        return tls

    def ask(self, name: str, host: str, method: str = "GET", path: str = "/models/a") -> Answer:
        """A request to the loopback address of an External, for a host."""
        with Caller(self.port[name]) as caller:
            return caller.ask(method, path, host=host)

    def proxied(self, host: str, method: str = "GET", path: str = "/models/a") -> Answer:
        """The same by the forward proxy."""
        with Caller(self.egress) as caller:
            return caller.ask(method, f"http://{host}{path}", host=host)

    def decided(self, answer: Answer) -> decision.Decision | None:
        """What the proxy told of it."""
        trace_id = answer.headers[decision.RESPONSE_HEADER]
        return decision.decide(self.plane.log(point=decision.POINT_EGRESS, trace_id=trace_id))

    def untouched(self) -> None:
        """Nobody has connected to where nothing may lead."""
        for each in self.elsewhere:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.accept()

    def allow(self, rule: str) -> str:
        """The policy id of a rule."""
        return next(each.policy_id for each in self.model.rules if each.id == rule)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "LOOPBACK_NETWORKS", FORBIDDEN)
        yield Bench(tmp_path_factory.mktemp("wild"), stack)


def test_envoy_takes_all_of_it(bench: Bench):
    """Listeners, clusters and policies of every form of a star."""
    answer = bench.ask("plain", f"a.plain.example:{bench.app}")
    assert bench.plane.nacks == []
    assert answer.status == 200


def test_a_host_that_has_the_name_that_was_asked_for_is_reached_by_tls(bench: Bench):
    """The proxy asks for that name by SNI and finds it in the certificate; the decision is the Allow's."""
    answer = bench.ask("models", f"good.models.example:{bench.tls}")
    assert answer.status == 200
    decided = bench.decided(bench.proxied(f"good.models.example:{bench.tls}"))
    assert decided == decision.Decision(allowed=True, policy_id=bench.allow("team-a/out"))


def test_the_certificate_of_another_host_under_the_star_is_not_enough(bench: Bench):
    """The server has a good certificate, of a neighbour: 503, and no request reaches it."""
    refused = bench.ask("models", f"other.models.example:{bench.tls}")
    assert refused.status == 503
    log = bench.plane.log(point=decision.POINT_EGRESS, authority=f"other.models.example:{bench.tls}")
    assert "SAN" in log[decision.UPSTREAM_FAILURE] or "verify" in log[decision.UPSTREAM_FAILURE].lower()


def test_one_label_is_one_label_and_many_are_many(bench: Bench):
    """As the document says; a name that is refused is not looked up either."""
    assert bench.ask("plain", f"a.b.plain.example:{bench.app}").status == 200
    assert bench.ask("models", f"a.good.models.example:{bench.tls}").status == 403
    assert bench.proxied(f"a.good.models.example:{bench.tls}").status == 403
    assert "a.good.models.example" not in bench.names.asked


@pytest.mark.parametrize(
    "host",
    [
        "plain.example:PORT",
        "evil.example:PORT",
        "a.plain.example.evil.example:PORT",
        "aplain.example:PORT",
        ".plain.example:PORT",
        "*.plain.example:PORT",
        "A.PLAIN.EXAMPLE:PORT",
        "a_b.plain.example:PORT",
        "-a.plain.example:PORT",
        "a..plain.example:PORT",
        "a.plain.example",
        "a.plain.example:1",
        "a.plain.example:PORT:PORT",
        "a.plain.example:0PORT",
        "a.plain.example:PORT@evil.example",
        "evil.example#.plain.example:PORT",
        "evil.example/.plain.example:PORT",
        "evil.example%2e.plain.example:PORT",
        "127.0.0.1:PORT",
        "[::1]:PORT",
        "[::ffff:127.0.0.1]:PORT",
        "127.0.0.1.plain.example.:1",
        "a.plain.example,b.plain.example:PORT",
    ],
)
def test_a_host_that_is_spelled_otherwise_is_refused(bench: Bench, host: str):
    """On the loopback address and by the forward proxy: 403, or 400 by Envoy; no application sees it."""
    spelled = host.replace("PORT", str(bench.app))
    for answer in (bench.ask("plain", spelled), bench.proxied(spelled)):
        assert answer.status in {400, 403}, answer
        assert b"method" not in answer.body
    assert not bench.names.asked & {"evil.example", "a.plain.example.evil.example", "aplain.example", "plain.example"}


def test_userinfo_leads_nowhere(bench: Bench):
    """In a Host header it is refused; in an absolute request line Envoy drops it, and what is behind it is the host."""
    assert bench.ask("plain", f"user@a.plain.example:{bench.app}").status == 403
    answer = bench.proxied(f"user@a.plain.example:{bench.app}")
    assert answer.echoed["headers"]["host"] == f"a.plain.example:{bench.app}"
    assert bench.proxied(f"a.plain.example:{bench.app}@evil.example:{bench.app}").status == 403
    assert "evil.example" not in bench.names.asked


def test_a_trailing_dot_is_the_same_name(bench: Bench):
    """It is taken off before rules and look-ups see it, and is not sent on."""
    answer = bench.ask("plain", f"a.plain.example.:{bench.app}")
    assert answer.status == 200
    assert answer.echoed["headers"]["host"] == f"a.plain.example:{bench.app}"


def test_the_request_line_decides_and_not_a_second_host(bench: Bench):
    """RFC 9112 section 3.2.2: the authority of an absolute request line is the host; the header is replaced."""
    with Caller(bench.egress) as caller:
        refused = caller.ask("GET", f"http://evil.example:{bench.app}/models/a", host=f"a.plain.example:{bench.app}")
        taken = caller.ask("GET", f"http://a.plain.example:{bench.app}/models/a", host="evil.example")
    assert refused.status == 403
    assert taken.echoed["headers"]["host"] == f"a.plain.example:{bench.app}"
    assert "evil.example" not in bench.names.asked


def test_rules_look_at_requests_under_a_star(bench: Bench):
    """What the Allow does not name is denied before the name is looked up."""
    refused = bench.ask("plain", f"unasked.plain.example:{bench.app}", method="POST")
    assert refused.status == 403
    assert bench.decided(refused) == DEFAULT_DENY
    assert "unasked.plain.example" not in bench.names.asked
    assert bench.proxied(f"a.plain.example:{bench.app}").status == 200


def test_a_name_that_another_document_declares_is_that_ones_alone(bench: Bench):
    """No Allow of the star opens it: neither one that the workload may not reach, nor one it may reach otherwise."""
    for host in ("owned.plain.example", "secret.plain.example"):
        for answer in (bench.ask("plain", f"{host}:{bench.app}"), bench.proxied(f"{host}:{bench.app}")):
            assert answer.status == 403, host
            assert bench.decided(answer) == DEFAULT_DENY
    answer = bench.proxied(f"secret.plain.example:{bench.app}", "POST", "/other")
    assert bench.decided(answer) == decision.Decision(allowed=True, policy_id=bench.allow("team-a/posts-to-secret"))


@pytest.mark.parametrize("name", sorted(BAD))
def test_no_answer_of_dns_leads_where_nothing_may_lead(bench: Bench, name: str):
    """Loopback, link-local and metadata addresses in every spelling are no answer; nor for tunnels."""
    host = f"{name}.plain.example:{bench.app}"
    for refused in (bench.ask("plain", host), bench.proxied(host)):
        assert refused.status == 503, refused
    with tunnel(bench.egress, f"{name}.pass.example:{bench.tls}") as (_, status):
        assert status == 503
    assert f"{name}.plain.example" in bench.names.asked
    bench.untouched()


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_forbidden_address_among_others_is_not_tried_either(bench: Bench, name: str):
    """Envoy tries the addresses of an answer in turn, and its filters see the first one alone."""
    host = f"{name}.plain.example:{bench.app}"
    for answer in (bench.ask("plain", host), bench.proxied(host)):
        assert answer.status == 503, answer
    assert not _passes(bench, f"{name}.pass.example")
    bench.untouched()


def test_private_addresses_are_refused_unless_the_document_takes_them(bench: Bench):
    """Whoever owns a name under a public star must not lead a workload into the network that it runs in."""
    assert bench.ask("public", f"ok.public.example:{bench.app}").status == 200
    assert bench.ask("public", f"inner.public.example:{bench.app}").status == 503
    log = bench.plane.log(point=decision.POINT_EGRESS, authority=f"inner.public.example:{bench.app}")
    assert "dns_resolution_failure" in log[decision.DETAILS]


def test_tunnels_lead_to_names_under_the_star_alone(bench: Bench):
    """CONNECT with the declared port; the workload's own TLS goes through it."""
    with tunnel(bench.egress, f"good.pass.example:{bench.tls}") as (raw, status):
        assert status == 200
        with _unchecked().wrap_socket(raw, server_hostname="good.models.example") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: good.models.example\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
    for authority in (
        f"good.pass.example:{bench.app}",
        f"evil.example:{bench.tls}",
        f"a.good.pass.example:{bench.tls}",
    ):
        with tunnel(bench.egress, authority) as (_, status):
            assert status == 403, authority


def test_a_workloads_own_tls_passes_through_to_the_name_that_it_asks_for(bench: Bench):
    """SNI leads there, in any case; the record names it and the Allow."""
    for asked in ("good.pass.example", "GOOD.pass.example"):
        raw = socket.create_connection(("127.0.0.1", bench.port["pass"]), timeout=30)
        with _unchecked().wrap_socket(raw, server_hostname=asked) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: good.pass.example\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
    log = bench.plane.log(point=decision.POINT_EGRESS, server_name="good.pass.example")
    assert decision.decide(log) == decision.Decision(allowed=True, policy_id=bench.allow("team-a/out"))


@pytest.mark.parametrize(
    "asked", ["evil.example", "a.good.pass.example", "pass.example", "good.pass.example.evil.example"]
)
def test_tls_that_asks_for_a_name_beside_the_star_goes_nowhere(bench: Bench, asked: str):
    """Nor is the name that it asks for looked up."""
    assert not _passes(bench, asked)
    assert decision.decide(bench.plane.log(point=decision.POINT_EGRESS, server_name=asked)) == DEFAULT_DENY
    assert asked not in bench.names.asked


@pytest.mark.parametrize("name", sorted(BAD))
def test_no_answer_of_dns_leads_tls_where_nothing_may_lead(bench: Bench, name: str):
    """Such an answer is none: the connection ends before anything was sent anywhere."""
    assert not _passes(bench, f"{name}.pass.example")
    assert f"{name}.pass.example" in bench.names.asked
    bench.untouched()


def _passes(bench: Bench, asked: str) -> bool:
    with socket.create_connection(("127.0.0.1", bench.port["pass"]), timeout=30) as raw:
        try:
            _unchecked().wrap_socket(raw, server_hostname=asked).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
