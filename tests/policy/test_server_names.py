"""Rules that open, or close, single names below a host's star."""

from __future__ import annotations

import pytest

from ringfence.policy.evaluate import Request, evaluate
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, codes, load, model_of, only

STAR = """
kind: External
metadata: {name: buckets, namespace: shared}
spec:
  host: "*.s3.example"
  dynamic: {labels: many}
  ports: [{name: https, port: 443, protocol: http}, {name: raw, port: 8443, protocol: tcp, tls: passthrough}]
"""
OWN = """
kind: External
metadata: {name: own, namespace: shared}
spec: {host: own.s3.example, ports: [{name: https, port: 443, protocol: http}]}
"""
THEIRS = """
kind: External
metadata: {name: theirs, namespace: shared}
spec: {host: "*.them.s3.example", dynamic: {labels: many}, ports: [{name: https, port: 443, protocol: http}]}
"""


def rule(names: str, kind: str = "Allow", name: str = "out", to: str = "external: buckets, port: https") -> str:
    """A rule for these names alone; for any where *names* are none."""
    asked = f"  serverNames: {names}\n" if names else ""
    return f"""
kind: {kind}
metadata: {{name: {name}, namespace: team-a}}
spec:
  from: [{{workload: trainer}}]
  to: [{{{to}, namespace: shared}}]
{asked}  owner: ml
  reason: tests
"""


def allowed(host: str, *rules: str, port: str = "https") -> bool:
    """Whether the trainer may reach *host*, below the star."""
    model = model_of(MESH, TRAINER, STAR, OWN, *rules)
    source = model.workloads["team-a/trainer"].spiffe_id
    return evaluate(model, Request(source, "shared/buckets", port, NOW, "GET", "/x", server_name=host)).allowed


@pytest.mark.parametrize(
    ("host", "allow", "deny"),
    [
        ("a.s3.example", True, True),
        ("x.eu.s3.example", True, True),
        ("x.y.eu.s3.example", True, True),
        ("eu.s3.example", False, False),
        ("b.s3.example", False, False),
        ("aXs3.example", False, False),
        ("xeu.s3.example", False, False),
        ("", False, True),
    ],
)
def test_a_rule_holds_for_the_names_that_it_asks_for(host: str, allow: bool, deny: bool):  # noqa: FBT001
    """Where no name is known an Allow does not hold, and a Deny does."""
    names = "[a.s3.example, '*.eu.s3.example']"
    assert allowed(host, rule(names)) is allow
    denying = rule(names, kind="Deny", name="not-there")
    means = host == "" or host.endswith(".s3.example")
    assert allowed(host, rule(""), denying) is (means and not deny)


def test_a_port_whose_tls_passes_through_is_narrowed_alike():
    """There the name is that of the workload's own TLS."""
    narrowed = rule("[a.s3.example]", to="external: buckets, port: raw")
    assert allowed("a.s3.example", narrowed, port="raw")
    assert not allowed("b.s3.example", narrowed, port="raw")


def test_a_name_of_another_document_is_nobody_elses():
    """Neither an Allow of the wide star opens it nor one of its own, asked for there."""
    assert not allowed("own.s3.example", rule(""))


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("[]", "RF1104"),
        ("[A.s3.example]", "RF1105"),
        ("['*.example']", "RF1105"),
        ("[a.b_c.s3.example]", "RF1105"),
        ("[a.s4.example]", "RF1219"),
        ("['*.other.example']", "RF1219"),
        ("[s3.example]", "RF1219"),
        ("[own.s3.example]", "RF1219"),
        ("['*.them.s3.example']", "RF1219"),
        ("[a.them.s3.example]", "RF1219"),
    ],
)
def test_a_name_that_nobody_could_mean_is_refused(names: str, code: str):
    """Misspelt, elsewhere, or another document's own: the rule would never hold."""
    assert only(load(MESH, TRAINER, STAR, OWN, THEIRS, rule(names))).code == code


def test_a_star_of_one_label_has_no_star_below_it():
    """It means names of that one label: the star itself, or one of them."""
    one = STAR.replace("many", "one")
    assert only(load(MESH, TRAINER, one, rule("['*.eu.s3.example']"))).code == "RF1219"
    assert load(MESH, TRAINER, one, rule("['*.s3.example', a.s3.example]")).model is not None


def test_an_error_says_whose_the_name_is():
    """So that the rule can be led there."""
    assert "it is shared/own's" in only(load(MESH, TRAINER, STAR, OWN, rule("[own.s3.example]"))).message


@pytest.mark.parametrize("to", ["external: own, port: https", "workload: registry, port: http"])
def test_where_there_is_only_one_name_a_rule_asks_for_none(to: str):
    """Callers of an exact host, or of a workload, whose name goes along with no connection."""
    loaded = load(MESH, TRAINER, REGISTRY, STAR, OWN, rule("[own.s3.example]", to=to))
    assert loaded.model is None
    assert "RF1218" in codes(loaded)


def test_names_are_in_the_hash_in_any_order():
    """Other names are another rule, and a rule without any keeps the hash that it had."""
    said = ["", "[a.s3.example]", "[a.s3.example, b.s3.example]", "['*.s3.example']"]
    hashes = [model_of(MESH, TRAINER, STAR, rule(names)).rules[0].hash for names in said]
    assert len(set(hashes)) == len(hashes)
    turned = rule("[b.s3.example, a.s3.example, a.s3.example]")
    assert model_of(MESH, TRAINER, STAR, turned).rules[0].hash == hashes[2]
    assert model_of(MESH, TRAINER, REGISTRY, PULL).rules[0].server_names == ()
