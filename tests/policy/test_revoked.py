"""Revocations in a model: who is meant by them, and where they decide."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import Model
from ringfence.policy.revoked import callers, meant, settled, with_revoked
from tests.policy import intent

RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: 8080, protocol: http}, {name: db, port: 81, protocol: tcp}]
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/**"]}]
  owner: ml
  reason: base model
  expires: 2026-12-01T00:00:00Z
---
kind: Allow
metadata: {name: rows, namespace: team-a}
spec: {from: [{namespace: team-a}], to: [{workload: registry, namespace: shared, port: db}], owner: o, reason: r}
"""
TRAINER, NOTEBOOK = "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/team-b/sa/notebook"
SERIAL = "0" * 31 + "7"


def serial(name: str = TRAINER, number: str = SERIAL, at: int = 5) -> RevokedSerial:
    """A certificate of *name* that is revoked."""
    return RevokedSerial(number, name, "key", "node", 2**31, at, "keyCompromise", "stolen")


def identity(name: str = TRAINER, at: int = 5) -> RevokedIdentity:
    """*name*, revoked as a whole."""
    return RevokedIdentity(name, at, "left", "alice")


def model_of(revocations: Revocations) -> Model:
    """The intent with that revoked."""
    return with_revoked(intent.model_of(intent.MESH, intent.TRAINER, intent.NOTEBOOK, RULES), revocations)


def decided_by(revocations: Revocations, source: str, port: str, path: str = "/models/a", number: str = SERIAL) -> str:
    """Who decides on a GET, or on a connection."""
    request = Request(SpiffeId.parse(source), "shared/registry", port, intent.NOW, "GET", path, number)
    return evaluate(model_of(revocations), request).decided_by


@pytest.mark.parametrize(("port", "path"), [("http", "/models/a"), ("http", "/other"), ("db", "")])
def test_a_revoked_identity_is_refused_by_name_wherever_a_rule_means_it(port: str, path: str):
    """On any path, by a rule that names it or its namespace; the revocation comes before the rules."""
    assert decided_by(Revocations.of([], [identity()]), TRAINER, port, path) == "revoked"


def test_a_revoked_server_is_not_called():
    """Its callers' proxies have no cluster for it; one certificate of it is another matter, for its own proxy."""
    registry = "spiffe://example.test/ns/shared/sa/registry"
    assert decided_by(Revocations.of([], [identity(registry)]), TRAINER, "http") == "revoked"
    assert decided_by(Revocations.of([], [identity(registry)]), NOTEBOOK, "http") == "default-deny"
    assert decided_by(Revocations.of([serial(registry)]), TRAINER, "http", number="") == "team-a/pull"


def test_where_no_rule_means_it_the_default_has_it_already():
    """No rule speaks of the notebook, so that no proxy needs to hear that it is revoked."""
    assert decided_by(Revocations.of([], [identity(NOTEBOOK)]), NOTEBOOK, "http") == "default-deny"


def test_a_rule_that_has_ended_means_nobody():
    """From its expiry on the destination holds no rule of that caller, and the default decides."""
    model = model_of(Revocations.of([], [identity()]))
    late = datetime(2026, 12, 1, tzinfo=UTC)
    request = Request(SpiffeId.parse(TRAINER), "shared/registry", "http", late, "GET", "/models/a")
    assert evaluate(model, request).decided_by == "default-deny"


def test_one_certificate_is_refused_and_the_next_one_of_the_same_identity_is_not():
    """A serial is revoked, not the name."""
    revoked = Revocations.of([serial()])
    assert decided_by(revoked, TRAINER, "http") == "revoked"
    assert decided_by(revoked, TRAINER, "http", number="0" * 31 + "8") == "team-a/pull"


def test_callers_are_told_apart_by_what_is_revoked_of_them():
    """Whole identities, of which no certificate matters any more, and single certificates."""
    other = "0" * 31 + "8"
    of_notebook = [serial(NOTEBOOK, other, 3), serial(NOTEBOOK, "0" * 31 + "9", 4)]
    found = callers(Revocations.of([serial(at=9), *of_notebook], [identity(at=5)]))
    assert found[TRAINER] == RevokedCaller(whole=True, serials=frozenset(), newest=5)
    assert found[NOTEBOOK] == RevokedCaller(whole=False, serials=frozenset({other, "0" * 31 + "9"}), newest=4)


def test_certificates_that_have_ended_change_nothing_by_that():
    """They stay until something else changes for their identity: a new one, the whole of it, or what was lifted."""
    first, second, third = (RevokedCaller(False, frozenset(some), 1) for some in ("ab", "a", "ac"))
    whole, nothing = RevokedCaller(True, frozenset(), 1), {}
    for before, now, expected in (
        (first, {TRAINER: second}, first),
        (first, nothing, first),
        (first, {TRAINER: third}, third),
        (first, {TRAINER: whole}, whole),
        (whole, {TRAINER: second}, second),
    ):
        assert settled({TRAINER: before}, now) == {TRAINER: expected}
    assert settled({TRAINER: whole}, nothing) == {}
    assert settled(nothing, {TRAINER: first}) == {TRAINER: first}


def test_a_revocation_is_no_part_of_the_intent():
    """The revision stays: whoever waits for one is not kept waiting by an operator's revocation."""
    with_one, without = model_of(Revocations.of([], [identity()])), model_of(Revocations())
    assert with_one.revision == without.revision
    assert with_one != without


def test_only_those_are_meant_whom_a_rule_means():
    """By name or by namespace; a name that begins like a namespace is not in it."""
    neighbour = "spiffe://example.test/ns/team-ab/sa/trainer"
    revoked = callers(Revocations.of([], [identity(), identity(NOTEBOOK), identity(neighbour)]))
    model = model_of(Revocations())
    assert set(meant(revoked, model.rules, model.mesh.trust_domain)) == {TRAINER}
