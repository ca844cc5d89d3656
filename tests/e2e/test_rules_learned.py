"""The rules learned by measurement (docs/rules.md), on everything as its commands start it, with real Envoys."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.broker.run.envoy import find_envoy
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload as workload_api
from ringfence.proto.client import Client
from ringfence.xds import codec
from tests.e2e.identities import Domain
from tests.e2e.learned import CLIENT, COMES_LATE, HELD, NOTEBOOK, PREFIX, WEB, Late, code_of, connect, tls
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import closed
from tests.e2e.stack import Stack, Workload

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("rules_learned")]


@pytest.fixture(scope="module", autouse=True)
def late(stack: Stack) -> Late:
    """Started before all else, so that the others' time is its waiting time."""
    return Late(stack)


def name_of(connection: socket.socket) -> str:
    """Our end of a connection, as the proxy writes it."""
    return "{}:{}".format(*connection.getsockname())


def test_a_revocation_bites_on_the_open_connection_and_touches_no_listener(
    stack: Stack, web: Workload, client: Workload
) -> None:
    """Rule 1: the very connection that was served is refused; nothing drains and no listener is modified for it."""
    watched = ("listener_modified", "listener_added", "listener_removed", "total_listeners_draining")
    names = [f"listener_manager.{name}" for name in watched]
    with Caller(client.upstream("WEB_HTTP")) as caller:
        assert caller.ask("GET", "/public/a").status == 200
        before = [[w.stats()[name] for name in names] for w in (web, client)]
        try:
            stack.apply(stack.intent.replace('"/public/**"', '"/none"'))
            until(lambda: caller.ask("GET", "/public/a").status == 403, "the refusal")
            answer = caller.ask("GET", "/public/b")
            assert [[w.stats()[name] for name in names] for w in (web, client)] == before
            (decision,) = stack.explain(answer.headers["x-ringfence-decision"], wait_ms=2000)
            assert (decision.rule, decision.source) == ("default-deny", CLIENT)
        finally:
            stack.apply(stack.intent)
        until(lambda: caller.ask("GET", "/public/a").status == 200, "the rule's return")
    assert web.stats()["listener_manager.lds.update_rejected"] == 0


def test_a_changed_cluster_does_not_stay_warming(stack: Stack, web: Workload, client: Workload) -> None:
    """Rule 2: another protocol makes another cluster; it is acknowledged at once, since its endpoints come with it."""
    before = client.stats()["cluster_manager.cluster_modified"]
    try:
        stack.apply(stack.intent.replace("protocol: http}, {name: db", "protocol: grpc}, {name: db"))
        until(stack.in_step, "every proxy in step", 10)
        stats = client.stats()
    finally:
        stack.apply(stack.intent)
    assert stats["cluster_manager.cluster_modified"] > before
    assert stats["cluster_manager.warming_clusters"] == 0
    until(stack.in_step, "every proxy in step", 10)
    with Caller(client.upstream("WEB_HTTP")) as caller:
        assert caller.ask("GET", "/public/a").status == 200


def test_a_port_of_somebody_else_is_a_refusal_with_its_line_and_the_rest_serves(stack: Stack) -> None:
    """Rule 3: a NACK names the document's line in `proxy status`; the other listener of that response is live."""
    spare = stack.workload("shared/spare")
    taken, free = spare.inbound("http"), spare.inbound("metrics")
    os.kill(spare.proxy, signal.SIGKILL)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: _bound(thief, taken), "the port of the killed proxy")
        thief.listen()
        code, rows = until(lambda: _nacked(stack), "a NACK")
        until(lambda: spare.page("/ready").strip() == "LIVE", "the proxy that was started again")
        live = json.loads(spare.page("/listeners?format=json"))["listener_statuses"]

    assert code == 3
    line = 1 + stack.intent.splitlines().index("metadata: {name: spare, namespace: shared}")
    place, _, words = rows[f"{PREFIX}/shared/sa/spare"]["detail"].partition(": ")
    path, _, number = place.rpartition(":")
    assert path.endswith("rules.yaml")
    assert line - 1 <= int(number) <= line + 5
    assert "Address already in use" in words
    assert [row["state"] for name, row in rows.items() if not name.endswith("/spare")].count("NACK") == 0
    ports = {row["local_address"]["socket_address"]["port_value"] for row in live}
    assert free in ports
    with connect(free, tls(stack, stack.authority().issue(SpiffeId.parse(CLIENT)))) as connection:
        assert connection.version() == "TLSv1.3"


FORGED = {
    "ours-twice": (CLIENT, NOTEBOOK),
    "the-stranger-first": (NOTEBOOK, CLIENT),
    "the-same-twice": (CLIENT, CLIENT),
    "a-foreign-one-beside": (CLIENT, "spiffe://evil.test/x"),
    "a-web-address-beside": (CLIENT, "https://example.org/"),
    "two-in-one": (f"{CLIENT},{NOTEBOOK}",),
    "with-a-newline": (f"{CLIENT}\n",),
    "with-a-query": (f"{CLIENT}?x",),
}


@pytest.mark.parametrize("uris", FORGED.values(), ids=FORGED.keys())
def test_our_own_signature_under_two_names_is_no_identity(stack: Stack, web: Workload, uris: tuple[str, ...]) -> None:
    """Rule 4: the server's own key signed it and Envoy's validator takes it; HTTP and TCP deny it as not-one-uri."""
    context = tls(stack, stack.authority().forge(*uris))
    with Caller(web.inbound("http"), context) as caller:
        for path in ("/public/a", "/team/a", "/team/closed"):
            answer = caller.ask("GET", path)
            assert answer.status == 403
            (http,) = stack.explain(answer.headers["x-ringfence-decision"], wait_ms=2000)
            assert (http.rule, http.allowed, http.status, http.point) == ("not-one-uri", False, 403, "envoy.http")
            assert http.destination == WEB
    with connect(web.inbound("db"), context) as connection:
        connection.sendall(b"rows")
        address = name_of(connection)
        assert closed(connection)
    tcp = stack.of_connection(address, rule="not-one-uri")
    assert (tcp.rule, tcp.allowed, tcp.point, tcp.destination) == ("not-one-uri", False, "envoy.tcp", WEB)


def test_one_name_of_the_same_authority_is_let_in(stack: Stack, web: Workload) -> None:
    """Rule 4: the guard refuses the second name and nothing else; a DNS name beside the one URI changes nothing."""
    for identity in (stack.authority().forge(CLIENT, dns=("web.internal",)), stack.authority().forge(CLIENT)):
        context = tls(stack, identity)
        with Caller(web.inbound("http"), context) as caller:
            assert caller.ask("GET", "/public/a").status == 200
        with connect(web.inbound("db"), context) as connection:
            connection.sendall(b"rows")
            assert connection.recv(16) == b"rows"


@pytest.mark.parametrize("name", [CLIENT, "spiffe://evil.test/ns/team-a/sa/client"], ids=["ours", "its-own"])
def test_an_authority_of_ones_own_making_is_refused_and_recorded(stack: Stack, web: Workload, name: str) -> None:
    """Rule 4: whatever name it signs, the handshake fails, on either port, and the failure is a named decision."""
    context = tls(stack, Domain(SpiffeId.parse(name).trust_domain.name).forge(name))
    for port in ("http", "db"):
        with connect(web.inbound(port), context) as connection:
            address = name_of(connection)
            connection.settimeout(30)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                _greeted(connection)
        refused = stack.of_connection(address, rule="not-mtls")
        assert (refused.point, refused.destination, refused.allowed) == ("envoy.tls", WEB, False)


def test_the_servers_certificate_has_names_that_grpc_can_check(stack: Stack) -> None:
    """Rule 11: grpcio with the bundle alone, and no override of the name, gets through by host and by address."""
    bundle = (stack.data_dir / "bundle.pem").read_bytes()
    port = stack.listen.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1"):
        with grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(bundle)) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)


def test_envoys_share_nothing_with_each_other(stack: Stack, web: Workload, client: Workload) -> None:
    """Rule 12: every child is started without hot restart, so that several live beside each other."""
    for pid in {web.proxy, client.proxy}:
        assert b"--disable-hot-restart" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_the_agent_says_how_it_holds_its_callers(stack: Stack, web: Workload) -> None:
    """Rule 13: by a pidfd of the very peer where the kernel gives one, else by start time, and /metrics says which.

    It says as well whether the kernel tells when one becomes another.
    """
    page = stack.agent_page("/metrics").splitlines()
    held = {
        line.partition(" ")[0].partition('held_by="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in page
        if 'held_by="' in line
    }
    kernel = tuple(int(part) for part in platform.release().split(".")[:2])
    assert held["pidfd" if kernel >= (6, 5) else "start-time"] >= 1
    assert len(held) == 1
    assert {"ringfence_agent_process_events 0.0", "ringfence_agent_process_events 1.0"} & set(page)


def test_a_shadow_rule_on_requests_is_recorded_and_decides_nothing(client: Workload, stack: Stack) -> None:
    """Rule 17: the call passes by the rule that allows it, with the one that would have refused it beside it."""
    with Caller(client.upstream("WEB_HTTP")) as caller:
        answer = caller.ask("GET", "/public/old")
        other = caller.ask("GET", "/public/new")
    assert (answer.status, other.status) == (200, 200)
    found = [stack.explain(a.headers["x-ringfence-decision"], wait_ms=2000)[0] for a in (answer, other)]
    assert [(d.allowed, d.rule, d.shadow_rule.partition("@")[0]) for d in found] == [
        (True, "team-a/reads", "shared/retire"),
        (True, "team-a/reads", ""),
    ]


def test_a_shadow_rule_on_connections_is_recorded_and_decides_nothing(client: Workload, stack: Stack) -> None:
    """Rule 17: network RBAC says nothing by itself, yet both the deciding and the shadow rule are in the record."""
    with socket.create_connection(("127.0.0.1", client.upstream("WEB_DB")), timeout=30) as connection:
        connection.sendall(b"rows")
        assert connection.recv(16) == b"rows"
    found = stack.decision(point="envoy.tcp", source=CLIENT, destination=WEB, rule="team-a/rows", allowed=True)
    assert found.shadow_rule.partition("@")[0] == "shared/watch"
    assert found.line == 1 + stack.intent.splitlines().index("metadata: {name: rows, namespace: team-a}") - 1


def test_explain_waits_for_the_proxys_record(client: Workload, stack: Stack) -> None:
    """Rule 18: asked at once and without patience it knows nothing yet; with its own two seconds it always answers."""
    unknown, decision_id = 0, ""
    with Caller(client.upstream("WEB_HTTP")) as caller:
        for turn in range(100):
            decision_id = caller.ask("POST", f"/public/{turn}").headers["x-ringfence-decision"]
            unknown += not stack.explain(decision_id, wait_ms=0)
            (found,) = stack.explain(decision_id, wait_ms=2000)
            assert (found.rule, found.request_path) == ("default-deny", f"/public/{turn}")
            if unknown and turn >= 5:
                break
    assert unknown, "no record was ever late"
    code, out = stack.ringfence("authz", "explain", decision_id, "-o", "json")
    assert (code, json.loads(out)["items"][0]["status"]) == (0, 403)


def test_a_proxy_is_held_until_its_identity_is_there(stack: Stack, late: Late) -> None:
    """Rule 9: it waited longer than Envoy's 15 s; once its identity is registered it serves, and gave up nothing."""
    threading.Event().wait(max(0.0, late.started + HELD - time.monotonic()))
    assert late.page("/ready").strip() != "LIVE"
    try:
        envoy = str(Path(find_envoy(None)).resolve())
        stack.apply(stack.intent + COMES_LATE.replace("UID", str(os.geteuid())).replace("ENVOY", envoy))
        until(lambda: late.page("/ready").strip() == "LIVE", "the proxy that was held")
        until(lambda: f"127.0.0.1:{late.port}" in late.page("/listeners"), "its listener")
        stats = json.loads(late.page("/stats?format=json"))["stats"]
    finally:
        stack.apply(stack.intent)
    assert not [s["name"] for s in stats if s.get("name", "").endswith("init_fetch_timeout") and s["value"]]


def test_an_agent_that_ends_says_unavailable_on_every_stream(stack: Stack, web: Workload, client: Workload) -> None:
    """Rule 9: SIGTERM ends Workload API and secret streams with UNAVAILABLE, never OK; proxies live through it."""
    sds = codec.message("envoy.service.discovery.v3.DiscoveryRequest")
    with grpc.insecure_channel(f"unix:{stack.socket}") as channel, Caller(client.upstream("WEB_HTTP")) as caller:
        api = Client(channel, workload_api.DESCRIPTOR)  # type: ignore[arg-type]  # any channel will do
        metadata = (workload_api.SECURITY_HEADER,)
        streams: list[Any] = [
            api.FetchX509SVID(workload_api.X509SVIDRequest(), metadata=metadata),
            api.FetchX509Bundles(workload_api.X509BundlesRequest(), metadata=metadata),
            api.FetchJWTBundles(workload_api.JWTBundlesRequest(), metadata=metadata),
            channel.stream_stream("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", None, None)(
                _and_then_wait(codec.encode(sds(resource_names=["ALL"])))
            ),
        ]
        for stream in streams:
            next(stream)
        stack.agent.send_signal(signal.SIGTERM)
        codes = [code_of(partial(list, stream)) for stream in streams]
        assert stack.agent.wait(30) == 0
        assert codes == [grpc.StatusCode.UNAVAILABLE] * 4
        assert caller.ask("GET", "/public/a").status == 200
        stack.start_agent()
        assert caller.ask("GET", "/public/a").status == 200


def _and_then_wait(first: bytes) -> Iterator[bytes]:
    yield first
    threading.Event().wait(100)


def _greeted(connection: ssl.SSLSocket) -> None:
    """Raise unless the other side answers: in TLS 1.3 a refused client learns of it when it reads."""
    connection.sendall(b"GET /public/a HTTP/1.1\r\nhost: web\r\n\r\n")
    if not connection.recv(1):
        raise ConnectionError


def _bound(thief: socket.socket, port: int) -> bool:
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _nacked(stack: Stack) -> tuple[int, dict[str, Any]] | None:
    code, out = stack.ringfence("proxy", "status", "-o", "json")
    rows = {row["spiffeId"]: row for row in json.loads(out)["items"]}
    return (code, rows) if any(row["state"] == "NACK" for row in rows.values()) else None
