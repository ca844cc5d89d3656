"""An agent that is restarted while two real Envoys carry requests over mutual TLS by the certificates that it gave."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.stack import Stack, Workload, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("failures_envoy")]

INTENT = """\
kind: Mesh
spec: {trustDomain: example.org, defaults: {ttl: {x509: TTL}}}
---
kind: Workload
metadata: {name: client, namespace: team-a}
spec: {launch: {by: [{unix.uid: UID}]}}
---
kind: Workload
metadata: {name: web, namespace: shared}
spec:
  launch: {by: [{unix.uid: UID}]}
  serves: [{name: http, port: WEB_HTTP, protocol: http}, {name: db, port: WEB_DB, protocol: tcp}]
---
kind: Allow
metadata: {name: reads, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{workload: web, namespace: shared, port: http}]
  http: [{methods: [GET]}]
  owner: ml
  reason: pages
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec:
  from: [{workload: client}]
  to: [{workload: web, namespace: shared, port: db}]
  owner: ml
  reason: rows
"""
SOME = 20  # requests of each kind


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Server, agent, and the intent in which the client may call."""
    facts = {"UID": os.geteuid(), "WEB_HTTP": free_port(), "WEB_DB": free_port()}
    text = INTENT
    for fact, value in facts.items():
        text = text.replace(fact, str(value))
    with tempfile.TemporaryDirectory(prefix="rf-") as name, running_stack(Path(name), text.replace("TTL", "1h")) as up:
        up.intent = text
        yield up
        up.server.kill()  # its streams are open: it would wait for them


@pytest.fixture(scope="module")
def pair(stack: Stack) -> tuple[Workload, Workload]:
    """Who is called, and who calls, each behind its Envoy."""
    return stack.workload("shared/web"), stack.workload("team-a/client")


class Load:
    """Two threads that ask without a pause: on a connection that stays, and on new ones, each with a handshake."""

    def __init__(self, client: Workload) -> None:
        self.failures: list[str] = []
        self._done = {"request": 0, "connection": 0}
        self._over = threading.Event()
        self._caller = Caller(client.upstream("WEB_HTTP"))
        self._rows = ("127.0.0.1", client.upstream("WEB_DB"))
        works = {"request": self._request, "connection": self._connection}
        self._threads = [threading.Thread(target=self._work, args=work) for work in works.items()]

    @contextmanager
    def running(self) -> Iterator[Load]:
        """For as long as the block lasts."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(20)
            self._caller.socket.close()

    def some_more(self, when: str) -> None:
        """Until each kind was answered SOME times from now on, or something failed."""
        wanted = {kind: count + SOME for kind, count in self._done.items()}
        until(lambda: self.failures or all(self._done[kind] >= wanted[kind] for kind in wanted), f"requests {when}")
        assert self.failures == [], when

    def _work(self, kind: str, ask: Callable[[], object]) -> None:
        while not self._over.is_set():
            try:
                answer = ask()
            except (OSError, HTTPException) as error:
                answer = error
            if answer is not None:
                self.failures.append(f"{kind} {self._done[kind]}: {answer!r}")
                return
            self._done[kind] += 1

    def _request(self) -> object:
        answer = self._caller.ask("GET", "/page")
        return None if answer.status == 200 else answer

    def _connection(self) -> object:
        """Each connection through the proxies is one of its own between them."""
        with socket.create_connection(self._rows, timeout=30) as connection:
            connection.sendall(b"rows")
            answer = connection.recv(16)
        return None if answer == b"rows" else answer


def _serials(workload: Workload) -> set[str]:
    """Of the certificates that its Envoy shows."""
    found = json.loads(workload.page("/certs"))["certificates"]
    return {leaf["serial_number"] for each in found for leaf in each["cert_chain"]}


def _renewed(pair: tuple[Workload, Workload], before: list[set[str]], patience: float = 20) -> None:
    for workload, old in zip(pair, before, strict=True):
        until(partial(_new, workload, old), "a new certificate in each Envoy", patience)


def _new(workload: Workload, before: set[str]) -> set[str]:
    return _serials(workload) - before


def _end(stack: Stack, how: signal.Signals) -> None:
    stack.agent.send_signal(how)
    assert stack.agent.wait(30) == (0 if how is signal.SIGTERM else -how)


@pytest.mark.parametrize(
    ("how", "server", "ttl"),
    [
        (signal.SIGTERM, "up", "2h"),
        (signal.SIGKILL, "up", "3h"),
        (signal.SIGTERM, "down", "4h"),
        (signal.SIGKILL, "down", "5h"),
    ],
)
def test_no_request_fails_while_the_agent_is_restarted(
    stack: Stack, pair: tuple[Workload, Workload], how: signal.Signals, server: str, ttl: str
) -> None:
    """Nor while there is none, nor while its server is away too; then new certificates reach both Envoys by it."""
    with Load(pair[1]).running() as load:
        if server == "down":
            stack.server.kill()
            stack.server.wait(30)
        load.some_more("before")
        _end(stack, how)
        load.some_more("without an agent")
        stack.start_agent()
        load.some_more("with the new agent")
        if server == "down":
            stack.start_server()
        before = [_serials(workload) for workload in pair]
        stack.apply(stack.intent.replace("TTL", ttl))
        _renewed(pair, before)
        load.some_more("with new certificates")


def test_a_restarted_agent_renews_by_the_clock(stack: Stack, pair: tuple[Workload, Workload]) -> None:
    """What it had from before gets its successor at half of its life, and no request fails for it."""
    with Load(pair[1]).running() as load:
        before = [_serials(workload) for workload in pair]
        stack.apply(stack.intent.replace("TTL", "20s"))
        _renewed(pair, before)
        _end(stack, signal.SIGKILL)
        before = [_serials(workload) for workload in pair]
        stack.start_agent()
        load.some_more("with the new agent")
        _renewed(pair, before)
        load.some_more("with renewed certificates")
