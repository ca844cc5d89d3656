"""A real Envoy judges requests as the evaluator does: rules, shadows, path tricks, and the evidence of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from ringfence.policy.evaluate import Request, evaluate
from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import RULES, Bench, model_of, registry
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


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
        "/models/team-a/%2e%2e;/team-b/x",
        "/models/team-a/%2e%2e%3bv=1/team-b/x",
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
