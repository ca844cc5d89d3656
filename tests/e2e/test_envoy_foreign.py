"""A real Envoy lets callers of a federated trust domain in where a rule names them, and nobody in their name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from tests.e2e.identities import Domain, Identity
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import Bench, closed, connect, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULE = """
kind: {kind}
metadata: {{name: {name}, namespace: shared}}
spec:
  from: [{source}]
  to: [{{workload: registry, port: {port}}}]
  owner: ml
  reason: partners
"""
FRIEND, OTHER = "spiffe://other.test/ns/x/sa/friend", "spiffe://other.test/ns/x/sa/other"
RULES = "---".join(
    RULE.format(kind=kind, name=name, source=source, port=port)
    for kind, name, source, port in (
        ("Allow", "friends", "{trustDomain: other.test}", "http"),
        ("Deny", "not-other", f'{{id: "{OTHER}"}}', "http"),
        ("Allow", "rows", f'{{id: "{FRIEND}"}}', "db"),
    )
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here, which trusts other.test for its own names."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        running.apply(RULES)
        until(lambda: status(running, theirs(running, FRIEND)) == 200, "the rules")
        yield running


def theirs(bench: Bench, name: str) -> Identity:
    """An SVID of the partner."""
    return bench.foreign.issue(SpiffeId.parse(name))


def status(bench: Bench, shown: Identity | str) -> int:
    """What a GET is answered with; 0 where the handshake fails."""
    try:
        with Caller(bench.http, bench.tls(shown)) as caller:
            return caller.ask("GET", "/").status
    except (ConnectionError, ssl.SSLError):
        return 0


def test_a_partner_is_judged_as_the_evaluator_does(bench: Bench):
    """By its trust domain, by one identity, and our own by neither."""
    model = bench.apply(RULES)
    for name in (FRIEND, OTHER, "spiffe://other.test/any"):
        request = Request(SpiffeId.parse(name), "shared/registry", "http", datetime.now(UTC), "GET", "/")
        allowed = evaluate(model, request).allowed
        assert status(bench, theirs(bench, name)) == (200 if allowed else 403), name
    assert status(bench, "team-a/trainer") == 403
    assert bench.plane.nacks == []


def test_nobody_gets_in_by_a_partners_name(bench: Bench):
    """Our own authority vouches for no name of theirs, theirs for none of ours, and a stranger for nobody."""
    stranger = Domain("other.test")
    assert status(bench, bench.own.forge(FRIEND)) == 0
    assert status(bench, bench.foreign.forge("spiffe://example.test/ns/team-a/sa/trainer")) == 0
    assert status(bench, stranger.issue(SpiffeId.parse(FRIEND))) == 0
    assert status(bench, bench.foreign.forge("spiffe://other.test.evil/ns/x/sa/friend")) == 0
    assert status(bench, bench.foreign.forge(FRIEND, OTHER)) == 403


def test_a_partners_connection_is_judged_too(bench: Bench):
    """The same on a TCP port."""
    with connect(bench, theirs(bench, FRIEND)) as friend:
        friend.sendall(b"rows")
        assert friend.recv(64)
    with connect(bench, theirs(bench, OTHER)) as other:
        other.sendall(b"rows")
        assert closed(other)
