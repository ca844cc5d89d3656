"""A real Envoy judges headers as the evaluator does: repeated, joined, absent, and of no text at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import Model
from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import Bench, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULE = """
kind: {kind}
metadata: {{name: {name}, namespace: shared}}
spec:
  from: [{{namespace: team-a}}]
  to: [{{workload: registry, port: http}}]
  http: [{{paths: ["{path}"]{headers}}}]
  owner: ml
  reason: headers
"""


def rule(kind: str, name: str, path: str, header: str = "") -> str:
    """A rule for everybody in team-a on a path of its own."""
    return RULE.format(kind=kind, name=name, path=path, headers=f", headers: [{header}]" if header else "")


RULES = "---".join(
    (
        rule("Allow", "exact", "/exact", "{name: x-role, exact: ro}"),
        rule("Allow", "prefix", "/prefix", "{name: x-role, prefix: r}"),
        rule("Allow", "present", "/present", "{name: x-role, present: true}"),
        rule("Allow", "both", "/both", "{name: x-role, exact: ro}, {name: x-team, exact: a}"),
        *(rule("Allow", f"all-{kind}", f"/not-{kind}") for kind in ("exact", "prefix", "present")),
        rule("Deny", "not-exact", "/not-exact", "{name: x-role, exact: ro}"),
        rule("Deny", "not-prefix", "/not-prefix", "{name: x-role, prefix: r}"),
        rule("Deny", "not-present", "/not-present", "{name: x-role, present: true}"),
    )
)
PATHS = ("/exact", "/prefix", "/present", "/both", "/not-exact", "/not-prefix", "/not-present")
LINES: tuple[Sequence[tuple[str, bytes]], ...] = (
    [],
    [("x-role", b"ro")],
    [("X-Role", b"ro")],
    [("x-role", b"RO")],
    [("x-role", b"rw")],
    [("x-role", b"")],
    [("x-role", b"  ro ")],
    [("x-role", b"ro"), ("x-role", b"admin")],
    [("x-role", b"admin"), ("x-role", b"ro")],
    [("x-role", b"ro,admin")],
    [("x-role", b"admin ,\tro\t, x")],
    [("x-role", b"ro"), ("x-role", b"ro")],
    [("x-role", b"ro"), ("x-team", b"a")],
    [("x-role", b"ro"), ("x-team", b"a"), ("x-team", b"b")],
    [("x-role", b"\xff"), ("x-role", b"ro")],
    [("x-role", b"ro"), ("x-role", b"\xff")],
    [("x-role", b"ro\xff")],
    [("x-team", b"a")],
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


@pytest.fixture(scope="module")
def model(bench: Bench) -> Model:
    """The rules, in force."""
    model = bench.apply(RULES)
    until(lambda: ask(bench, "/exact", [("x-role", b"ro")])[0] == 200, "the rules")
    return model


def ask(bench: Bench, path: str, lines: Sequence[tuple[str, bytes]]) -> tuple[int, str]:
    """The status, and the id of the decision, of a GET with exactly these header lines."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        answer = caller.ask_raw("GET", path, lines)
    return answer.status, answer.headers.get(decision.RESPONSE_HEADER, "")


@pytest.mark.parametrize("lines", LINES, ids=repr)
def test_envoy_and_the_evaluator_read_headers_alike(bench: Bench, model: Model, lines: Sequence[tuple[str, bytes]]):
    """Every condition by every way to send a header; nobody is let in whom the evaluator would not let in."""
    source = model.workloads["team-a/trainer"].spiffe_id
    sent = tuple((name.lower(), value.decode("latin-1").strip(" \t")) for name, value in lines)
    for path in PATHS:
        request = Request(source, "shared/registry", "http", datetime.now(UTC), "GET", path, headers=sent)
        verdict = evaluate(model, request)
        assert ask(bench, path, lines)[0] == (200 if verdict.allowed else 403), path
    assert bench.plane.nacks == []


def test_a_second_value_satisfies_no_allow_and_escapes_no_deny(bench: Bench, model: Model):
    """The two that matter, without the evaluator: an application may take the first line or the last."""
    for lines in ([("x-role", b"ro"), ("x-role", b"admin")], [("x-role", b"admin,ro")]):
        assert ask(bench, "/exact", lines)[0] == 403
        status, found = ask(bench, "/not-exact", lines)
        assert status == 403
        log = bench.plane.log(trace_id=found)
        denied = next(one for one in model.rules if one.name == "not-exact")
        assert decision.decide(log) == decision.Decision(allowed=False, policy_id=denied.policy_id)


def test_a_header_with_an_underscore_is_not_there_but_refused(bench: Bench, model: Model):
    """An application might read `x_role` as `x-role`: the request ends before any rule."""
    assert ask(bench, "/not-exact", [("x_role", b"ro")])[0] == 400
    assert ask(bench, "/exact", [("x-role", b"ro"), ("x_role", b"admin")])[0] == 400
