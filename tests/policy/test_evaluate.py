"""One request judged: guard, deny, allow, shadow, expiry, and default deny."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.canonical import canonical_path
from ringfence.policy.evaluate import Request, Verdict, evaluate, in_force
from ringfence.policy.model import (
    Destination,
    Effect,
    HttpMatch,
    Mesh,
    Mode,
    Model,
    Origin,
    Port,
    Protocol,
    Rule,
    Workload,
    named,
)
from ringfence.policy.paths import PathPattern
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, model_of

TRAINER_ID = SpiffeId.parse("spiffe://example.test/ns/team-a/sa/trainer")
NOTEBOOK_ID = SpiffeId.parse("spiffe://example.test/ns/team-b/sa/notebook")
AGENT_ID = SpiffeId.parse("spiffe://example.test/ringfence/agent/x/y")
FOREIGN_ID = SpiffeId.parse("spiffe://other.test/ns/team-a/sa/trainer")


def rule(name: str, spec: str, kind: str = "Allow") -> str:
    """A rule document in team-a."""
    head = f"kind: {kind}\nmetadata: {{name: {name}, namespace: team-a}}\nspec:\n  owner: o\n  reason: r\n"
    return head + "".join(f"  {line}\n" for line in spec.splitlines())


def judge(
    *rules: str, source: SpiffeId | None = TRAINER_ID, port: str = "http", now: datetime = NOW, **call: str
) -> Verdict:
    """The verdict on a call to the registry under *rules*."""
    model = model_of(MESH, TRAINER, REGISTRY, *rules)
    call = {"method": "GET", "path": "/models/team-a/x", **call}
    return evaluate(model, Request(source, call.get("to", "shared/registry"), port, now, call["method"], call["path"]))


TO = "to: [{workload: registry, namespace: shared, port: http}]\n"
DB = "to: [{workload: registry, namespace: shared, port: db}]\n"


def test_an_allowed_request_names_its_rule():
    """The verdict carries the rule, its id and the name that enforcement points show."""
    verdict = judge(PULL)
    assert verdict.allowed
    assert verdict.rule is not None
    assert (verdict.decided_by, verdict.policy_id) == ("team-a/pull", verdict.rule.policy_id)


@pytest.mark.parametrize(
    ("call", "decided_by"),
    [
        ({"source": None}, "not-mtls"),
        ({"source": FOREIGN_ID}, "default-deny"),
        ({"source": NOTEBOOK_ID}, "default-deny"),
        ({"source": AGENT_ID}, "default-deny"),
        ({"method": "PUT"}, "default-deny"),
        ({"method": ""}, "default-deny"),
        ({"path": "/models/team-b/x"}, "default-deny"),
        ({"path": "/models/team-a/../team-b/x"}, "default-deny"),
        ({"path": "/models/team-a/%2e%2e/team-b/x"}, "default-deny"),
        ({"path": "/models/team-a/%2e%2e;/team-b/x"}, "default-deny"),
        ({"path": ""}, "default-deny"),
        ({"path": "/models/team-a/x#y"}, "default-deny"),
        ({"port": "db"}, "default-deny"),
        ({"port": "none"}, "default-deny"),
        ({"to": "shared/nothing"}, "default-deny"),
    ],
)
def test_what_no_rule_allows_is_denied_by_name(call: dict[str, Any], decided_by: str):
    """Unknown callers, ports, destinations, methods and paths all end in a named default."""
    verdict = judge(PULL, **call)
    assert not verdict.allowed
    assert (verdict.decided_by, verdict.policy_id, verdict.rule) == (decided_by, named(decided_by), None)


@pytest.mark.parametrize("path", ["/models/team-b/../team-a/x", "//models/team-a/x?v=1", "/models/team%2Da/x"])
def test_a_path_is_judged_in_its_canonical_form(path: str):
    """Another spelling of an allowed path is that path."""
    assert judge(PULL, path=path).allowed


def test_a_deny_wins_over_every_allow():
    """A wide deny beats a narrow allow, and names itself."""
    deny = rule("freeze", "from: [{all: true}]\n" + TO, "Deny")
    verdict = judge(PULL, deny)
    assert (verdict.allowed, verdict.decided_by) == (False, "team-a/freeze")


def test_a_request_that_the_proxy_refuses_is_denied_by_default_even_without_paths():
    """A path that Envoy answers with 400 is never allowed, though the rule does not look at paths."""
    everything = rule("everything", "from: [{all: true}]\n" + TO)
    assert judge(everything).allowed
    assert not judge(everything, path="/a%00b").allowed


def test_a_foreign_trust_domain_is_not_of_the_mesh():
    """`all` means the mesh's own workloads: no other trust domain, and no daemon of Ringfence."""
    everything = rule("everything", "from: [{all: true}]\n" + TO)
    assert judge(everything, source=NOTEBOOK_ID).allowed
    assert not judge(everything, source=FOREIGN_ID).allowed
    assert not judge(everything, source=AGENT_ID).allowed


def test_a_namespace_means_its_workloads_only():
    """A namespace whose name begins with another's is another one."""
    ours = rule("ours", "from: [{namespace: team-a}]\n" + TO)
    assert judge(ours).allowed
    neighbour = SpiffeId.parse("spiffe://example.test/ns/team-a2/sa/trainer")
    assert not judge(ours, source=neighbour).allowed


def test_a_connection_is_judged_without_method_and_path():
    """On a TCP port a rule needs neither."""
    rows = rule("rows", "from: [{workload: trainer}]\n" + DB)
    assert judge(rows, port="db", method="", path="").allowed
    assert not judge(rows, port="http").allowed


def test_an_expired_rule_is_not_there():
    """From its expiry on a rule neither allows nor denies."""
    until = "expires: 2026-11-24T12:00:00Z\n"
    allow = rule("briefly", until + "from: [{workload: trainer}]\n" + TO)
    deny = rule("freeze", until + "from: [{workload: trainer}]\n" + TO, "Deny")
    before = NOW - timedelta(microseconds=1)
    assert judge(allow, now=before).allowed
    assert not judge(allow).allowed
    assert not judge(PULL, deny, now=before).allowed
    assert judge(PULL, deny).allowed


def test_a_shadow_rule_decides_nothing_and_is_reported_where_it_would():
    """It is named where enforcing it alone would turn the verdict, and nowhere else."""
    allow = rule("maybe", "mode: shadow\nfrom: [{all: true}]\n" + TO)
    deny = rule("soon", "mode: shadow\nfrom: [{all: true}]\n" + TO, "Deny")
    would_allow, would_deny = judge(allow), judge(PULL, deny)
    assert (would_allow.allowed, would_allow.decided_by) == (False, "default-deny")
    assert would_allow.shadow is not None
    assert would_allow.shadow.name == "maybe"
    assert (would_deny.allowed, would_deny.decided_by) == (True, "team-a/pull")
    assert would_deny.shadow is not None
    assert would_deny.shadow.name == "soon"
    assert judge(PULL, allow).shadow is None
    assert judge(deny).shadow is None


def test_the_narrowest_rule_speaks_then_the_smallest_id():
    """When several rules match, identity comes before namespace before mesh, as in the matcher trees."""
    wide = rule("a-wide", "from: [{all: true}]\n" + TO)
    space = rule("b-space", "from: [{namespace: team-a}]\n" + TO)
    narrow = [rule(name, "from: [{workload: trainer}]\n" + TO) for name in ("d-narrow", "c-narrow")]
    assert judge(wide, space, *narrow).decided_by == "team-a/c-narrow"
    assert judge(wide, space).decided_by == "team-a/b-space"
    assert judge(wide).decided_by == "team-a/a-wide"


TD = TrustDomain("t")
IDS = [SpiffeId(TD, path) for path in ("/ns/a/sa/x", "/ns/a/sa/y", "/ns/b/sa/x", "/ringfence/server")]
_SOURCES = st.sampled_from(
    [*(Source(i, None) for i in IDS[:3]), Source(None, "a"), Source(None, "b"), Source(None, None)]
)
_MATCHES = st.builds(
    HttpMatch,
    st.frozensets(st.sampled_from(["GET", "PUT"]), max_size=2),
    st.lists(st.sampled_from([PathPattern(p) for p in ("/m", "/m/*", "/m/**", "/m/a")]), max_size=2).map(tuple),
)
_TIMES = st.sampled_from([datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)])


@st.composite
def _models(draw: st.DrawFn) -> Model:
    ports = (Port("http", 80, Protocol.HTTP), Port("db", 81, Protocol.TCP))
    times = (timedelta(hours=1), timedelta(minutes=5))
    server = Workload("a", "x", "other", IDS[0], (), ports, (), *times, (), Origin("f", 1))
    rules = []
    for number in range(draw(st.integers(0, 6))):
        port = draw(st.sampled_from(["http", "db"]))
        rules.append(
            Rule(
                namespace="a",
                name=f"r{number}",
                effect=draw(st.sampled_from(Effect)),
                mode=draw(st.sampled_from(Mode)),
                sources=tuple(draw(st.lists(_SOURCES, min_size=1, max_size=3))),
                destinations=(Destination("a/x", port),),
                http=tuple(draw(st.lists(_MATCHES, max_size=2))) if port == "http" else (),
                owner="o",
                reason="r",
                expires=draw(st.none() | _TIMES),
                hash="0" * 12,
                origin=Origin("f", number),
            )
        )
    return Model(Mesh(TD, *times), {"a/x": server}, {}, tuple(rules), "")


def _means(rule_: Rule, request: Request) -> bool:
    """The oracle's own reading of one rule, written as the documentation says it."""
    source = str(request.source)
    caller = any(
        source == str(s.identity)
        if s.identity
        else source.startswith("spiffe://t/ns/" if s.namespace is None else f"spiffe://t/ns/{s.namespace}/")
        for s in rule_.sources
    )
    fits = not rule_.http or any(
        (not m.methods or request.method in m.methods)
        and (not m.paths or any(p.matches(canonical_path(request.path) or "") for p in m.paths))
        for m in rule_.http
    )
    live = rule_.expires is None or rule_.expires > request.now
    return caller and fits and live and rule_.destinations[0].port == request.port


@given(
    _models(),
    st.builds(
        Request,
        st.sampled_from(IDS),
        st.just("a/x"),
        st.sampled_from(["http", "db"]),
        _TIMES,
        st.sampled_from(["GET", "PUT", "DELETE"]),
        st.sampled_from(["/m", "/m/a", "/m/a/b", "/m/../m/a", "/", "/n"]),
    ),
)
def test_the_verdict_is_that_of_a_naive_reading(model: Model, request: Request):
    """Some enforced allow and no enforced deny: that is all there is to being allowed."""
    meant = [r for r in model.rules if _means(r, request)]
    enforced = {r.effect for r in meant if r.mode is Mode.ENFORCE}
    verdict = evaluate(model, request)
    assert verdict.allowed is (enforced == {Effect.ALLOW})
    if verdict.rule is not None:
        assert verdict.rule in meant
        assert in_force(verdict.rule, request.now)
        assert verdict.rule.mode is Mode.ENFORCE
    else:
        assert not enforced
    if verdict.shadow is not None:
        assert verdict.shadow in meant
        assert verdict.shadow.mode is Mode.SHADOW
