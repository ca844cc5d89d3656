"""Questions in people's words, and advice on what would allow a call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.evidence.join import joined
from ringfence.broker.evidence.judge import ModelBook, Question, header_line, judge, token_shown
from ringfence.broker.evidence.nearest import advise
from ringfence.broker.evidence.story import tell
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from tests.policy import plain, test_jobs, test_server_names, test_tokens
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, model_of

MODEL = model_of(MESH, TRAINER, REGISTRY, HUB, PULL)
LINE = MODEL.rules[0].origin.line
TRAINER_ID = "spiffe://example.test/ns/team-a/sa/trainer"


def ask(source: str, destination: str, port: str = "http", method: str = "GET", path: str = "/models/team-a/x") -> str:
    """The rule that decides, with a minus in front of a denial."""
    found = judge(MODEL, Question(source, destination, port, method, path), NOW)
    return found.rule if found.allowed else f"-{found.rule}"


def test_names_are_ids_short_names_and_hosts() -> None:
    """All spellings of one question have one answer."""
    assert ask("team-a/trainer", "shared/registry") == "team-a/pull"
    assert ask(TRAINER_ID, "spiffe://example.test/ns/shared/sa/registry") == "team-a/pull"
    assert ask("team-a/trainer", "hub.example", "https") == "-default-deny"
    assert ask("team-a/trainer", "shared/hub", "") == "-default-deny"
    assert ask("spiffe://example.test/ns/unknown/sa/x", "shared/registry") == "-default-deny"


def test_a_rank_is_asked_about_by_its_own_name_and_all_of_them_by_the_workloads() -> None:
    """Who is revoked is refused alone; and what only looks like a rank is nobody."""
    revoked = RevokedIdentity("spiffe://example.test/ns/team-a/job/llm/rank/1", 5, "left", "alice")
    model = with_revoked(model_of(MESH, test_jobs.JOB, REGISTRY, PULL, test_jobs.MEET), Revocations.of((), [revoked]))
    ranks = "spiffe://example.test/ns/team-a/job/llm/rank/"

    def ask(source: str, destination: str) -> str:
        found = judge(model, Question(source, destination), NOW)
        assert found.source == (source if source.startswith("spiffe") else f"{ranks}*")
        assert found.destination == (destination if destination.startswith("spiffe") else f"{ranks}*")
        return found.rule

    assert ask("team-a/trainer", "team-a/trainer") == ask(f"{ranks}*", f"{ranks}2") == "team-a/meet"
    assert ask(f"{ranks}2", f"{ranks}3") == "team-a/meet"
    assert ask(f"{ranks}1", f"{ranks}2") == ask(f"{ranks}2", f"{ranks}1") == "revoked"
    assert ask(f"{ranks}2/x", f"{ranks}3") == "default-deny"
    with pytest.raises(RingfenceError):
        ask(f"{ranks}2", f"{ranks}03")


def test_advice_is_given_on_what_a_job_is_denied() -> None:
    """By the rank that called, or all of them."""
    model = model_of(MESH, test_jobs.JOB, REGISTRY, PULL.replace("[GET, HEAD]", "[PUT]"))
    for source in ("team-a/trainer", "spiffe://example.test/ns/team-a/job/llm/rank/4"):
        record = judge(model, Question(source, "shared/registry", "http", "GET", "/models/team-a/x"), NOW)
        assert "its methods named GET beside PUT" in advise(model, record, NOW)["nearest"]


@pytest.mark.parametrize(
    ("question", "kind", "text"),
    [
        (Question("team-a/nobody", "shared/registry"), Kind.NOT_FOUND, "no workload team-a/nobody"),
        (Question("team-a/trainer", "nowhere.example"), Kind.NOT_FOUND, "no workload nowhere.example"),
        (Question("team-a/trainer", "shared/registry"), Kind.INVALID, "has 2 ports. Name one with --port: http, db"),
        (Question("team-a/trainer", "shared/registry", "ftp"), Kind.INVALID, "has no port ftp"),
        (Question("spiffe://UPPER/x", "shared/registry", "http"), Kind.INVALID, "no trust domain"),
    ],
)
def test_a_name_that_means_nothing_is_explained(question: Question, kind: Kind, text: str) -> None:
    """What is wrong, and what there is."""
    with pytest.raises(RingfenceError) as caught:
        judge(MODEL, question, NOW)
    assert caught.value.kind is kind
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("question", "advice"),
    [
        (("POST", "/models/team-a/x"), "its methods named POST beside GET, HEAD"),
        (("GET", "/models/team-b/x"), "its paths covered /models/team-b/x beside /models/team-a/**"),
        (
            ("POST", "/models/team-b/../x"),
            "its methods named POST beside GET, HEAD and its paths covered /models/x beside /models/team-a/**",
        ),
    ],
)
def test_the_nearest_rule_says_what_it_lacks(question: tuple[str, str], advice: str) -> None:
    """The path is named as the proxy sees it."""
    denied = judge(MODEL, Question("team-a/trainer", "shared/registry", "http", *question), NOW)

    assert advise(MODEL, denied, NOW) == {"nearest": f"team-a/pull (intent.yaml:{LINE}), if {advice}"}


def test_headers_are_asked_for_and_advised() -> None:
    """A question may have header lines; what a rule wants of them is said in words, where it lacks."""
    rule = PULL.replace("http: [{", "http: [{headers: [{name: x-role, exact: ro}], ")
    model = model_of(MESH, TRAINER, REGISTRY, rule)
    call = ("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x")

    assert judge(model, Question(*call, (header_line("X-Role: ro"),)), NOW).allowed
    without = judge(model, Question(*call), NOW)
    both = judge(model, Question(*call, (header_line("X-Role: ro"), header_line("x-role:rw"))), NOW)
    for denied in (without, both):
        assert advise(model, denied, NOW)["nearest"].endswith("if it had the one header x-role: ro")
    put = judge(model, Question(*call[:3], "PUT", call[4], (header_line("x-role: ro"),)), NOW)
    assert advise(model, put, NOW)["nearest"].endswith("if its methods named PUT beside GET, HEAD")


def test_tokens_are_asked_for_and_advised() -> None:
    """A question may have a valid token; what a rule wants of one is said in words, where it lacks."""
    rule = test_tokens.with_jwt("  jwt: {issuer: corp, claims: {groups: [ml, ops]}}\n")
    model = model_of(MESH, TRAINER, REGISTRY, test_tokens.ISSUER, rule)
    call = ("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x", ())

    shown = dict([token_shown('team-a/corp={"groups": ["ml"]}')])
    assert judge(model, Question(*call, shown), NOW).allowed
    other = dict([token_shown('team-a/corp={"groups": "x"}')])
    for denied in (judge(model, Question(*call), NOW), judge(model, Question(*call, other), NOW)):
        advice = advise(model, denied, NOW)["nearest"]
        assert advice.endswith("if it had a valid token of team-a/corp with groups ml or ops")
    put = judge(model, Question(*call[:3], "PUT", call[4], (), shown), NOW)
    assert advise(model, put, NOW)["nearest"].endswith("if its methods named PUT beside GET, HEAD")


@pytest.mark.parametrize("text", ["corp={}", "team-a/corp", "team-a/corp=", "team-a/corp=[]", "team-a/corp={"])
def test_what_is_no_token_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(RingfenceError, match="no token"):
        token_shown(text)


def test_what_is_no_header_is_refused() -> None:
    """With what to write."""
    with pytest.raises(RingfenceError, match="no header"):
        header_line("x-role")


def test_an_allowed_call_and_an_unknown_destination_need_no_advice() -> None:
    """Nothing is said where nothing helps."""
    allowed = judge(MODEL, Question("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x"), NOW)
    outside = judge(MODEL, Question("team-a/trainer", "hub.example"), NOW)

    assert advise(MODEL, allowed, NOW) == {}
    assert advise(MODEL, outside, NOW) == {}


def test_a_rule_and_a_default_are_joined_each_in_its_way() -> None:
    """A rule has a line, an owner and a reason; a default has a meaning and no line; neither is ever empty-handed."""
    book = ModelBook(MODEL)
    by_rule = joined(
        judge(MODEL, Question("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x"), NOW), book
    )
    by_default = joined(judge(MODEL, Question("team-a/trainer", "hub.example"), NOW), book)

    assert (by_rule.path, by_rule.line, by_rule.owner, by_rule.reason) == ("intent.yaml", LINE, "ml", "base model")
    assert (by_default.path, by_default.line) == ("", 0)
    assert "no rule allows" in by_default.reason
    assert by_rule.revision == by_default.revision == MODEL.revision


def test_a_rule_that_was_never_applied_here_is_said_to_be_so() -> None:
    """An unknown hash is not joined to the rule that has the name today."""
    decision = joined(
        judge(MODEL, Question("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x"), NOW),
        ModelBook(model_of(MESH, TRAINER, REGISTRY)),
    )

    assert (decision.path, decision.revision) == ("", "")
    assert "never applied" in decision.reason


def test_a_story_quotes_the_rule_only_where_it_still_stands(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that says something else by now is not quoted as if it had decided."""
    file = tmp_path_factory.mktemp("intent") / "a.yaml"
    decision = admin_pb2.Decision(
        allowed=True, rule="team-a/pull", path=str(file), line=2, source=TRAINER_ID, destination="x", point="envoy.http"
    )
    file.write_text("---\nkind: Allow\nmetadata: {name: pull}\n---\nkind: Deny\n")
    told = tell(decision)
    file.write_text("---\nkind: Allow\nmetadata: {name: other}\n")

    assert f"{file}:2\n       2 | kind: Allow\n       3 | metadata: {{name: pull}}" in told
    assert "Deny" not in told
    assert "| kind" not in tell(decision)


CANARY = """
kind: Workload
metadata: {name: canary, namespace: shared}
spec: {match: [{unix.uid: 1009}], serves: [{name: http, port: 8081, protocol: http}]}
"""
ROUTES = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  routes:
    - match: [{headers: [{name: x-canary, exact: "1"}]}]
      split: [{workload: canary, weight: 1}]
    - match: [{paths: ["/models/**"]}]
      split: [{workload: registry, port: http, weight: 9}, {workload: canary, weight: 1}]
      mirror: {workload: canary, percent: 5}
"""


@pytest.mark.parametrize(
    ("path", "headers", "told"),
    [
        (
            "/models/team-a/x",
            (),
            (
                "shared/registry/http (90 %, allowed by team-a/pull), "
                "shared/canary/http (10 %, denied by default-deny), "
                "a copy of 5 % to shared/canary/http (denied by default-deny): "
                "route 2 of shared/registry (intent.yaml:"
            ),
        ),
        ("/", (("x-canary", "1"),), "shared/canary/http (100 %, denied by default-deny): route 1 of"),
        ("/other", (), None),
        ("", (), None),
    ],
)
def test_an_answer_says_where_a_route_would_send_the_request(
    path: str, headers: tuple[tuple[str, str], ...], told: str | None
) -> None:
    """Each target with its own verdict; nothing where no route takes the request or the path is not known."""
    model = model_of(MESH, TRAINER, REGISTRY, CANARY, PULL, ROUTES)
    found = judge(model, Question("team-a/trainer", "shared/registry", "http", "GET", path, headers), NOW)
    if told is None:
        assert "route" not in found.attributes
    else:
        assert found.attributes["route"].startswith(told)
        assert f"goes to      {told}" in tell(joined(found, ModelBook(model)))


def test_a_caller_without_an_identity_is_asked_about_by_name() -> None:
    """It is `plaintext`, and what would let it in is a rule that says so."""

    def asked(model: Model, path: str) -> tuple[str, str, str]:
        found = judge(model, Question("plaintext", "shared/registry", "http", "GET", path), NOW)
        return found.source, found.rule, advise(model, found, NOW).get("nearest", "")

    model = plain.model_of()
    assert asked(model, "/ready") == ("plaintext", "shared/probe", "")
    assert "if its paths covered /else beside /ready" in asked(model, "/else")[2]
    nothing = model_of(MESH, TRAINER, plain.taking(), PULL)
    source, rule, nearest = asked(nothing, "/models/team-a/x")
    assert (source, rule) == ("plaintext", "default-deny")
    assert nearest.endswith("if its from named plaintext callers")


def test_a_host_below_a_star_is_asked_about_by_its_name() -> None:
    """The answer is about that name; what a rule lacks to mean it is said, of what a proxy tells as well."""
    rule = test_server_names.rule("[a.s3.example]")
    model = model_of(MESH, TRAINER, test_server_names.STAR, test_server_names.OWN, rule)

    def asked(host: str) -> tuple[bool, str, str]:
        found = judge(model, Question("team-a/trainer", host, "https", "GET", "/x"), NOW)
        return found.allowed, found.destination, advise(model, found, NOW).get("nearest", "")

    assert asked("A.s3.example") == (True, "a.s3.example", "")
    lacks = "if its serverNames named b.s3.example beside a.s3.example"
    allowed, destination, nearest = asked("b.s3.example")
    assert (allowed, destination) == (False, "b.s3.example")
    assert nearest.endswith(lacks)
    for all_of_them in ("shared/buckets", "*.s3.example"):
        allowed, destination, nearest = asked(all_of_them)
        assert (allowed, destination) == (False, "*.s3.example")
        assert nearest.endswith("if it asked for a.s3.example")
    told = replace(
        judge(model, Question("team-a/trainer", "b.s3.example", "https"), NOW), destination="b.s3.example:443"
    )
    assert advise(model, told, NOW)["nearest"].endswith(lacks)
