"""A real Envoy judges what we compile for a workload that serves: identities, rules, path tricks, live changes."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model
from ringfence.xds import decision, types
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.e2e.identities import Domain, Identity, secrets
from tests.e2e.plane import Plane, until
from tests.e2e.proxies import Caller, envoy, free_port, http_app, listening, stat, tcp_app

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

WORKLOADS = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {match: [{unix.uid: 1001}]}
---
kind: Workload
metadata: {name: evaluator, namespace: team-a}
spec: {match: [{unix.uid: 1004}]}
---
kind: Workload
metadata: {name: notebook, namespace: team-b}
spec: {match: [{unix.uid: 1003}]}
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
TABLE = (
    ("team-a/trainer", "GET", "/models/team-a/base"),
    ("team-a/trainer", "GET", "/models/team-a/secret/x"),
    ("team-a/trainer", "GET", "/models/team-a/old/x"),
    ("team-a/trainer", "DELETE", "/models/team-a/base"),
    ("team-a/trainer", "PUT", "/checkpoints/1"),
    ("team-a/trainer", "PUT", "/checkpoints/1/2"),
    ("team-a/trainer", "GET", "/models/public/a"),
    ("team-a/evaluator", "GET", "/models/team-a/base"),
    ("team-a/evaluator", "GET", "/models/public/a"),
    ("team-b/notebook", "GET", "/models/public/a"),
    ("team-b/notebook", "GET", "/models/team-b/mine"),
)


def model_of(app_port: int, rules: str) -> Model:
    """The model of the workloads and these rules."""
    text = WORKLOADS.replace("APP_PORT", str(app_port)) + "---" + rules
    loaded = load_documents([("intent.yaml", text)], now=datetime.now(UTC))
    assert loaded.model is not None, loaded.findings
    return loaded.model


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

    def apply(self, rules: str) -> Model:
        """Compile and push these rules."""
        model = model_of(self.app_port, rules)
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


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The shared bench."""
    with ExitStack() as stack:
        yield Bench(tmp_path_factory.mktemp("e"), stack)


def test_a_declared_call_is_served(bench: Bench):
    """The trainer pulls its model; the application sees who called, from a header that no caller can forge."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        answer = caller.ask("GET", "/models/team-a/base?rev=1", **{"x-forwarded-client-cert": "URI=spiffe://evil"})
    assert answer.status == 200
    assert answer.echoed["path"] == "/models/team-a/base?rev=1"
    seen = {k.lower(): v for k, v in answer.echoed["headers"].items()}
    assert "spiffe://example.test/ns/team-a/sa/trainer" in seen["x-forwarded-client-cert"]
    assert "evil" not in seen["x-forwarded-client-cert"]
    assert bench.plane.nacks == []


def test_what_no_rule_allows_is_denied_by_name(bench: Bench):
    """A denial carries its id to the caller, and the log of that id names the default that decided."""
    with Caller(bench.http, bench.tls("team-b/notebook")) as caller:
        answer = caller.ask("GET", "/models/team-a/base")
    assert answer.status == 403
    log = bench.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER])
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="default-deny@builtin")
    assert log["trace"] == log[decision.TRACE_ID]
    assert log[decision.PEER] == "spiffe://example.test/ns/team-b/sa/notebook"
    assert log[decision.LOCAL] == log[decision.IDENTITY] == "spiffe://example.test/ns/shared/sa/registry"
    assert (log[decision.METHOD], log[decision.PATH]) == ("GET", "/models/team-a/base")
    assert (log[decision.POINT], log[decision.LISTENER]) == (decision.POINT_HTTP, "inbound/http")


def test_every_kind_of_verdict_is_in_the_log_and_is_that_of_the_evaluator(bench: Bench):
    """Allow by identity, by namespace, deny over allow, shadows that would have turned it: same as `evaluate`."""
    model = model_of(bench.app_port, RULES)
    asked = {}
    for key, method, path in TABLE:
        with Caller(bench.http, bench.tls(key)) as caller:
            answer = caller.ask(method, path)
        asked[answer.headers[decision.RESPONSE_HEADER]] = (key, method, path, answer.status)
    for trace, (key, method, path, status) in asked.items():
        request = Request(
            model.workloads[key].spiffe_id, "shared/registry", "http", datetime.now(UTC), method=method, path=path
        )
        verdict = evaluate(model, request)
        shadow = verdict.shadow.policy_id if verdict.shadow else ""
        logged = decision.decide(bench.plane.log(trace_id=trace))
        assert logged == decision.Decision(verdict.allowed, verdict.policy_id, shadow), path
        assert status == (200 if verdict.allowed else 403), path


def test_random_requests_are_judged_as_the_evaluator_does(bench: Bench):
    """Paths put together from honest and dishonest pieces: Envoy and the evaluator never disagree."""
    model, draw = model_of(bench.app_port, RULES), random.Random(7)  # noqa: S311  # repeatable, not secret
    keys = ("team-a/trainer", "team-a/evaluator", "team-b/notebook")
    pieces = (
        "models",
        "team-a",
        "team-b",
        "public",
        "secret",
        "..",
        ".",
        "",
        "%2e%2e",
        "a%2fb",
        "%73ecret",
        "a;b",
        "x?y",
    )
    with ExitStack() as stack:
        callers = {key: stack.enter_context(Caller(bench.http, bench.tls(key))) for key in keys}
        for _ in range(300):
            key, method = draw.choice(keys), draw.choice(("GET", "PUT", "DELETE"))
            path = "/" + "/".join(draw.choices(pieces, k=draw.randint(1, 6)))
            request = Request(
                model.workloads[key].spiffe_id, "shared/registry", "http", datetime.now(UTC), method=method, path=path
            )
            assert (callers[key].ask(method, path).status == 200) == evaluate(model, request).allowed, (key, path)


@pytest.mark.parametrize(
    "path",
    [
        "/models/public/../team-b/x",
        "/models/team-a/../team-b/x",
        "/models/team-a/%2e%2e/team-b/x",
        "/models/team-a%2f..%2fteam-b/x",
        "/models/team-a/..%5cteam-b/x",
        "/models/team-a/secret/x",
        "/models//team-a/secret/x",
        "/models/team-a/./secret/x",
        "/models/team-a/%73ecret/x",
        "/models/team-a%2Fsecret/x",
        "//models/team-a/secret/x",
        "/models\\team-a\\secret\\x",
        "/models/team-a/base/../secret/",
    ],
)
def test_tricks_with_paths_get_nowhere(bench: Bench, path: str):
    """However a forbidden path is spelled, it is judged as what the application would be asked."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        assert caller.ask("GET", path).status == 403


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/models/team-a//base", "/models/team-a/base"),
        ("/models/team-b/../team-a/x", "/models/team-a/x"),
        ("/models/team-a%2fbase", "/models/team-a/base"),
    ],
)
def test_a_harmless_detour_is_straightened_for_the_application_too(bench: Bench, path: str, seen: str):
    """What is judged is what is forwarded: there is no second reading of a path."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        answer = caller.ask("GET", path)
    assert (answer.status, answer.echoed["path"]) == (200, seen)


def test_a_header_with_an_underscore_is_refused(bench: Bench):
    """`x_role` could be read as `x-role` by an application after a proxy looked only at the latter."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        assert caller.ask("GET", "/models/team-a/base", x__role="admin").status == 400


def test_two_uri_names_are_refused_though_our_own_authority_signed_them(bench: Bench):
    """The guard: Envoy's validator accepts the certificate, one of its names is even allowed, and it is denied."""
    forged = bench.own.forge(
        "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/team-b/sa/notebook"
    )
    with Caller(bench.http, bench.tls(forged)) as caller:
        assert caller.ask("GET", "/models/public/base").status == 403  # a rule by prefix would match the first name
        answer = caller.ask("GET", "/models/team-a/base")
    assert answer.status == 403
    log = bench.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER])
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-one-uri@builtin")
    assert "," in log[decision.PEER]


def test_a_trusted_foreign_authority_cannot_borrow_a_name_of_ours(bench: Bench):
    """Its own name first satisfies the validator, ours second would satisfy any-of matching; the guard says no."""
    forged = bench.foreign.forge("spiffe://other.test/x", "spiffe://example.test/ns/team-a/sa/trainer")
    with Caller(bench.http, bench.tls(forged)) as caller:
        assert caller.ask("GET", "/models/team-a/base").status == 403


def test_a_member_of_a_trusted_foreign_domain_is_a_stranger(bench: Bench):
    """Trusting a bundle authenticates; it allows nothing."""
    stranger = bench.foreign.issue(SpiffeId.parse("spiffe://other.test/ns/team-a/sa/trainer"))
    with Caller(bench.http, bench.tls(stranger)) as caller:
        assert caller.ask("GET", "/models/team-a/base").status == 403


def test_a_name_of_ours_under_another_root_is_no_identity(bench: Bench):
    """The bundle is chosen by the domain in the name: the handshake fails, and the listener's log says so."""
    forged = bench.foreign.forge("spiffe://example.test/ns/team-a/sa/trainer")
    _refused(bench, bench.tls(forged))


def test_a_domain_nobody_trusts_is_refused(bench: Bench):
    """A self-made trust domain gets no further than the handshake."""
    stranger = Domain("evil.test").issue(SpiffeId.parse("spiffe://evil.test/ns/team-a/sa/trainer"))
    _refused(bench, bench.tls(stranger))


def test_an_expired_certificate_is_refused(bench: Bench):
    """An SVID is good until it ends."""
    expired = bench.own.forge("spiffe://example.test/ns/team-a/sa/trainer", lived=timedelta(minutes=5))
    _refused(bench, bench.tls(expired))


def test_no_certificate_is_refused(bench: Bench):
    """Mutual TLS or nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _refused(bench, context)


def test_tls_1_2_is_refused(bench: Bench):
    """1.3 only."""
    context = bench.tls("team-a/trainer")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _refused(bench, context)


def test_plaintext_is_refused_and_reported(bench: Bench):
    """A plain request to an mTLS port gets no answer, and the refusal is a named decision in the log."""
    with socket.create_connection(("127.0.0.1", bench.http), timeout=10) as plain:
        plain.sendall(b"GET /models/team-a/base HTTP/1.1\r\nhost: registry\r\n\r\n")
        assert not plain.recv(4096).startswith(b"HTTP")
        address = _name(plain)
    log = bench.plane.log(point=decision.POINT_TLS, peer__address=address)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-mtls@builtin")
    assert "HTTP_REQUEST" in log[decision.TLS_FAILURE]


def test_an_open_connection_feels_a_revocation_on_its_next_request(bench: Bench):
    """The rule goes, and the very connection that was just served is refused; it comes back, and it is served."""
    try:
        with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
            local = caller.socket.getsockname()
            assert caller.ask("GET", "/models/team-a/base").status == 200
            bench.apply(REVOKED)
            until(lambda: caller.ask("GET", "/models/team-a/base").status == 403, "the revocation")
            bench.apply(RULES)
            until(lambda: caller.ask("GET", "/models/team-a/base").status == 200, "the rule again")
            assert caller.socket.getsockname() == local
    finally:
        bench.apply(RULES)


def test_a_tcp_connection_is_judged_before_the_application_hears_of_it(bench: Bench):
    """The allowed one is passed on and named by its rule; a stranger is closed, unanswered, and named too."""
    with _tcp(bench, "team-a/trainer") as allowed:
        allowed.sendall(b"rows")
        assert allowed.recv(64) in {b"hello ", b"hello rows"}
        log = bench.plane.log(point=decision.POINT_TCP, peer__address=_name(allowed))
    assert decision.decide(log) == _judged(bench, "team-a/trainer")
    before = len(bench.received)
    with _tcp(bench, "team-b/notebook") as denied:
        denied.sendall(b"rows")
        assert _closed(denied)
        name = _name(denied)
    log = bench.plane.log(point=decision.POINT_TCP, peer__address=name)
    assert decision.decide(log) == _judged(bench, "team-b/notebook")
    assert log[decision.PEER].endswith("/team-b/sa/notebook")
    assert log[decision.STREAM_ID] not in {"", "-"}
    assert len(bench.received) == before


def test_a_stranger_is_not_greeted_by_a_server_that_speaks_first(bench: Bench):
    """RBAC judges on the first byte; until then the application's side is not even connected."""
    with _tcp(bench, "team-b/notebook") as silent:
        silent.settimeout(0.5)
        with pytest.raises(TimeoutError):
            silent.recv(1)


def test_two_uri_names_are_refused_on_tcp_too(bench: Bench):
    """The guard stands in the network tree as well."""
    forged = bench.own.forge("spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/x")
    with socket.create_connection(("127.0.0.1", bench.db), timeout=10) as raw, bench.tls(forged).wrap_socket(raw) as s:
        s.sendall(b"rows")
        assert _closed(s)
    log = bench.plane.log(connection="not-one-uri@builtin")
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-one-uri@builtin")


def test_a_revocation_closes_an_open_tcp_connection(bench: Bench):
    """Network RBAC never judges a live connection again: the changed chain drains, which ends it."""
    without = RULES.rpartition("---\n")[0]
    try:
        with _tcp(bench, "team-a/trainer") as open_one:
            open_one.sendall(b"rows")
            assert open_one.recv(64)
            bench.apply(without)
            open_one.settimeout(10)
            assert _closed(open_one)
    finally:
        bench.apply(RULES)


def test_nothing_is_served_before_the_policy_is_there(bench: Bench):
    """A listener whose policy has not come waits for it, for as long as it takes, and is not listening."""
    port, node = free_port(), "late"
    instance = Instance(node, inbound={"http": ("127.0.0.1", port)})
    model = model_of(bench.app_port, RULES)
    whole = compile_snapshot(model, model.workloads["shared/registry"], instance, {}, now=datetime.now(UTC))
    without = {
        url: {name: replace(resource, needs=frozenset()) for name, resource in named.items()}
        for url, named in whole.resources.items()
        if url != types.EXTENSION_CONFIG
    }
    bench.plane.snapshots[node] = Snapshot(without, "without policy")
    bench.plane.secrets[node] = bench.plane.secrets[NODE]
    with envoy(node, bench.plane.port, str(bench.folder / "agent.sock"), bench.folder):
        until(
            lambda: stat(bench.folder / f"{node}.admin", "listener_manager.total_listeners_active") == 1, "a listener"
        )
        with pytest.raises(ConnectionRefusedError):
            Caller(port)
        bench.plane.serve(node, whole)
        listening(port)
        with Caller(port, bench.tls("team-b/notebook")) as caller:
            assert caller.ask("GET", "/models/team-a/base").status == 403


def test_the_span_of_a_denial_names_the_policy(bench: Bench):
    """Spans carry the decision too, though the caller's traceparent asked for none."""
    parent = _traceparent(sampled=False)
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        assert caller.ask("GET", "/models/team-a/secret/x", traceparent=parent).status == 403
    trace = parent.split("-")[1]
    span = until(lambda: next((s for s in list(bench.plane.spans) if s["trace"] == trace), None), "the span")
    rule = next(r for r in model_of(bench.app_port, RULES).rules if r.name == "secret")
    assert span[decision.DENY] == rule.policy_id


def _traceparent(*, sampled: bool = True) -> str:
    return f"00-{free_port():032x}-{free_port():016x}-0{int(sampled)}"


def _tcp(bench: Bench, key: str) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", bench.db), timeout=10)
    return bench.tls(key).wrap_socket(raw)


def _judged(bench: Bench, key: str) -> decision.Decision:
    """What the evaluator says of a connection to the database, its shadow rule included."""
    model = model_of(bench.app_port, RULES)
    request = Request(model.workloads[key].spiffe_id, "shared/registry", "db", datetime.now(UTC))
    verdict = evaluate(model, request)
    assert verdict.shadow is not None
    return decision.Decision(verdict.allowed, verdict.policy_id, verdict.shadow.policy_id)


def _name(connection: socket.socket) -> str:
    """The caller's address as Envoy writes it."""
    host, port = connection.getsockname()
    return f"{host}:{port}"


def _closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except (ConnectionError, ssl.SSLError):
        return True
    return True


def _refused(bench: Bench, context: ssl.SSLContext) -> None:
    """The handshake fails (with TLS 1.3: at the first read), and the listener reports it as `not-mtls`."""
    with socket.create_connection(("127.0.0.1", bench.http), timeout=10) as raw:
        address = _name(raw)
        assert not _answered(raw, context)
    log = bench.plane.log(point=decision.POINT_TLS, peer__address=address)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-mtls@builtin")


def _answered(raw: socket.socket, context: ssl.SSLContext) -> bytes:
    try:
        with context.wrap_socket(raw) as tls:
            tls.sendall(b"GET /models/team-a/base HTTP/1.1\r\nhost: registry\r\n\r\n")
            return tls.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""
