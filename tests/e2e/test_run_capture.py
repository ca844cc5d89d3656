"""`ringfence run --capture` with the real server, agent, Envoy, nft and kernel: by name or not at all."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests import parts
from tests.e2e.captured import Captured, Refused, departed, processes_in
from tests.e2e.plane import until
from tests.e2e.proxies import http_app
from tests.e2e.stack import Stack, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("capture")]

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: client, namespace: team-a}
spec: {launch: {by: [{unix.uid: 0}]}}
---
kind: Workload
metadata: {name: lone, namespace: team-a}
spec: {launch: {by: [{unix.uid: 0}]}}
---
kind: Workload
metadata: {name: web, namespace: shared}
spec: {launch: {by: [{unix.uid: 0}]}, serves: [{name: http, port: WEB, protocol: http}]}
---
kind: External
metadata: {name: hub, namespace: shared}
spec: {host: hub.example, address: "127.0.0.1:HUB", ports: [{name: http, port: 80, protocol: http, tls: false}]}
---
kind: Allow
metadata: {name: reads, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{methods: [GET]}]
  owner: o
  reason: r
---
kind: Allow
metadata: {name: hub, namespace: team-a}
spec: {from: [{workload: client}], to: [{external: hub, namespace: shared}], owner: o, reason: r}
"""
CLIENT = "spiffe://example.org/ns/team-a/sa/client"
WEB_NAME = "web.shared.mesh"


class Bench:
    """A stack with a captured server and a captured client."""

    def __init__(self, stack: Stack, port: int) -> None:
        self.stack, self.port = stack, port
        self.web = Captured(stack, "shared/web")
        self.client = Captured(stack, "team-a/client")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Started once for all tests of this module."""
    parts.root()
    parts.program("nft", "nftables")
    port = free_port()
    with http_app() as hub:
        text = INTENT.replace("WEB", str(port)).replace("HUB", str(hub))
        with running_stack(tmp_path_factory.mktemp("c"), text) as stack:
            yield Bench(stack, port)


def test_a_program_that_knows_nothing_gets_through_by_name(bench: Bench) -> None:
    """Name, virtual address, capture, mutual TLS, RBAC, and the server's own namespace behind its proxy."""
    status, found = bench.client.do("http", WEB_NAME, bench.port)
    assert status == 200
    (decided,) = bench.stack.explain(found, wait_ms=20_000)
    assert (decided.allowed, decided.source, decided.rule) == (True, CLIENT, "team-a/reads")


def test_what_the_rule_does_not_allow_is_denied_and_traced(bench: Bench) -> None:
    """The refusal carries the id of its decision."""
    status, found = bench.client.do("http", WEB_NAME, bench.port, "POST")
    assert status == 403
    (decided,) = bench.stack.explain(found, wait_ms=20_000)
    assert (decided.allowed, decided.source, decided.rule) == (False, CLIENT, "default-deny")


def test_a_name_that_nothing_allows_has_no_address_and_is_on_record(bench: Bench) -> None:
    """Denied by name: it may not even be looked up."""
    with pytest.raises(Refused, match="gaierror"):
        bench.client.do("http", "ledger.core.mesh", 80)
    assert departed(bench.stack, "ledger.core.mesh")["rule"] == "default-deny"


def test_an_address_of_the_outside_is_refused_and_on_record(bench: Bench) -> None:
    """At once, whether the client speaks first or waits for the server to."""
    for text in ("GET / HTTP/1.0\r\n\r\n", ""):
        with pytest.raises(Refused, match="ConnectionResetError"):
            bench.client.do("tcp", "203.0.113.7", 4431, text)
    assert departed(bench.stack, "203.0.113.7:4431")["workload"] == CLIENT


def test_another_port_of_a_known_name_is_refused_by_that_name(bench: Bench) -> None:
    """The record says what the program dialled, and no virtual address."""
    with pytest.raises(Refused, match="ConnectionResetError"):
        bench.client.do("tcp", WEB_NAME, 4432)
    assert departed(bench.stack, f"{WEB_NAME}:4432")["rule"] == "default-deny"


def test_a_metadata_address_is_refused_by_its_own_rule(bench: Bench) -> None:
    """Not for want of a rule, but whatever rules there are."""
    with pytest.raises(Refused, match="ConnectionResetError"):
        bench.client.do("tcp", "169.254.169.254", 80, "GET / HTTP/1.0\r\n\r\n")
    assert departed(bench.stack, "169.254.169.254:80")["rule"] == "forbidden-address"


def test_nothing_but_tcp_leaves(bench: Bench) -> None:
    """The program is told at once; a resolver that it names itself is the proxy all the same."""
    with pytest.raises(Refused, match="PermissionError"):
        bench.client.do("udp", "203.0.113.7", 123)
    for what, port in (("udp", 53), ("tcp", 443)):
        with pytest.raises(Refused):  # in the words of whether the kernel has IPv6 at all
            bench.client.do(what, "2001:db8::1", port)


def test_loopback_is_untouched(bench: Bench) -> None:
    """What the program serves to itself, it reaches without a proxy; so it does its upstreams by their variables."""
    port = bench.client.do("serve", "127.0.0.1", 0)
    assert bench.client.do("http", "127.0.0.1", port) == [200, None]
    host, _, number = bench.client.do("environment", "RINGFENCE_UPSTREAM_WEB_HTTP").partition(":")
    assert bench.client.do("http", host, int(number))[0] == 200


def test_a_host_outside_is_reached_by_its_own_name(bench: Bench) -> None:
    """Through the proxy's rules for it, under the number that the document declares."""
    assert bench.client.do("http", "hub.example", 80)[0] == 200


def test_what_is_allowed_later_needs_no_restart(bench: Bench) -> None:
    """A program dials a name as soon as the intent knows it, and no longer than that."""
    late = intent_of(bench.stack, "hub", "late")
    bench.stack.apply(bench.stack.intent + late)
    until(lambda: answered(bench, "late.example"), "the new host", 30)
    bench.stack.apply(bench.stack.intent)
    until(lambda: not answered(bench, "late.example"), "its end", 30)
    assert bench.client.do("http", "hub.example", 80)[0] == 200


def test_what_the_workload_is_given_is_nobody_elses(bench: Bench) -> None:
    """Neither its upstreams nor its served port are on the machine's own loopback."""
    number = int(bench.client.do("environment", "RINGFENCE_UPSTREAM_WEB_HTTP").rpartition(":")[2])
    for port in (number, bench.port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=20)


def test_the_command_cannot_take_its_walls_down(bench: Bench) -> None:
    """Root or not: no capability, none to be had, no way into another namespace."""
    for field in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(bench.client.do("status", field), 16) == 0
    assert bench.client.do("status", "NoNewPrivs") == "1"
    assert bench.client.do("shell", parts.program("nft", "nftables"), "flush", "ruleset")[0] != 0
    nsenter = parts.program("nsenter", "util-linux")
    assert bench.client.do("shell", nsenter, f"--net=/proc/{os.getpid()}/ns/net", "true")[0] != 0


def test_a_proxy_that_dies_comes_back_within(bench: Bench) -> None:
    """The next one finds the namespace as its predecessor did."""
    first = bench.client.proxy
    os.kill(first, signal.SIGKILL)
    until(lambda: bench.client.proxy not in {0, first}, "the next one", 30)
    until(lambda: answered(bench, "hub.example"), "its answer", 30)


def test_a_run_that_is_killed_leaves_no_namespace(bench: Bench) -> None:
    """The proxy goes with it, the command cannot reach anything, and the namespace ends with its last process."""
    lone = Captured(bench.stack, "team-a/lone")
    lone.do("ignore")
    namespace = lone.do("namespace")
    assert processes_in(namespace)
    lone.process.send_signal(signal.SIGKILL)
    lone.process.wait(20)
    until(lambda: not processes_in(namespace), "the end of the namespace", 30)


def intent_of(stack: Stack, known: str, name: str) -> str:
    """The documents about the host outside *known*, once more for *name*."""
    documents = [text for text in stack.intent.split("---\n") if known in text]
    return "".join("---\n" + text.replace(known, name) for text in documents)


def answered(bench: Bench, host: str) -> bool:
    """Whether the program gets an answer from there."""
    try:
        return bool(bench.client.do("http", host, 80)[0] == 200)
    except Refused:
        return False
