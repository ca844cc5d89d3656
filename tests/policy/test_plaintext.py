"""Callers without an identity: only where a port takes them, for as long as it does, and by rules that say so."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import DEFAULT_DENY, NOT_MTLS, Model
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, codes, joined, load, model_of
from tests.policy.plain import OWNED, PROBE, UNTIL, taking, text

END = datetime.fromisoformat(UNTIL)
DENY = PROBE.replace("kind: Allow", "kind: Deny").replace("name: probe", "name: never")


def decided(model: Model, path: str = "/ready", now: datetime = NOW, address: str = "10.1.2.3") -> str:
    """By what a plaintext request to the registry is decided, with a minus in front of a denial."""
    call = Request(None, "shared/registry", "http", now, "GET", path, address=address, plaintext=True)
    verdict = evaluate(model, call)
    return f"{'' if verdict.allowed else '-'}{verdict.decided_by}"


def test_a_rule_lets_them_in_until_the_port_takes_none():
    """Until the end, which is not part of it; after that they are strangers as everywhere."""
    model = model_of(text())
    assert decided(model) == "shared/probe"
    assert decided(model, now=END - timedelta(microseconds=1)) == "shared/probe"
    assert decided(model, now=END) == f"-{NOT_MTLS}"


@pytest.mark.parametrize("source", ["{all: true}", "{namespace: team-a}", "{workload: trainer}"])
def test_no_rule_that_names_anybody_means_them(source: str):
    """Not even one that means everybody of the mesh."""
    rule = PULL.replace("{workload: trainer}", source).replace("/models/team-a/**", "/**")
    assert decided(model_of(joined(MESH, TRAINER, taking(), rule, PROBE)), "/models") == f"-{DEFAULT_DENY}"


def test_a_rule_for_them_means_nobody_of_the_mesh():
    """Whoever has an identity is judged by it."""
    asked = Request(SpiffeId.parse("spiffe://example.test/ns/team-a/sa/trainer"), "shared/registry", "http", NOW)
    for call in (asked, Request(asked.source, "shared/registry", "http", NOW, plaintext=True)):
        verdict = evaluate(model_of(text()), call)
        assert not verdict.allowed


def test_without_the_setting_a_rule_lets_nobody_in():
    """The rule alone is not enough, nor is the setting alone; a caller that failed at TLS is not in plaintext."""
    assert decided(model_of(joined(MESH, TRAINER, REGISTRY, PULL, PROBE))) == f"-{NOT_MTLS}"
    assert decided(model_of(joined(MESH, TRAINER, taking(), PULL))) == f"-{DEFAULT_DENY}"
    assert evaluate(model_of(text()), Request(None, "shared/registry", "http", NOW)).decided_by == NOT_MTLS


def test_a_deny_of_them_wins():
    """As everywhere."""
    assert decided(model_of(text(DENY))) == "-shared/never"


@pytest.mark.parametrize(
    ("address", "setting", "rule"),
    [("10.1.2.3", "shared/probe", "shared/probe"), ("11.1.2.3", f"-{NOT_MTLS}", f"-{DEFAULT_DENY}")],
)
def test_addresses_narrow_the_setting_and_the_rule(address: str, setting: str, rule: str):
    """From elsewhere the port takes nobody, or the rule means nobody."""
    assert decided(model_of(text(more=", from: [10.0.0.0/8]")), address=address) == setting
    narrowed = PROBE.replace("{plaintext: true}", "{plaintext: true, cidrs: [10.0.0.0/8]}")
    assert decided(model_of(joined(MESH, TRAINER, taking(), PULL, narrowed)), address=address) == rule


def test_where_the_address_is_not_known_nobody_is_taken():
    """The safe side."""
    assert decided(model_of(text(more=", from: [10.0.0.0/8]")), address="") == f"-{NOT_MTLS}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"until: {UNTIL}, ", ""),
        ("owner: ml-platform, ", ""),
        (", reason: two jobs are still outside", ""),
        (OWNED, f"{OWNED}, from: []"),
        (OWNED, f"{OWNED}, from: [10.0.0.1/8]"),
        ("port: 8080, protocol: http", "ports: 8080-8090, protocol: tcp"),
        ("2026-12-24T00:00:00Z", "2026-12-24"),
    ],
)
def test_the_setting_has_an_end_an_owner_and_a_reason(before: str, after: str):
    """Whatever is half said is refused; a range of ports takes nobody."""
    changed = text().replace(before, after)
    assert changed != text()
    assert load(changed).model is None


@pytest.mark.parametrize(
    "wrong",
    [
        PROBE.replace("{plaintext: true}", "{plaintext: false}"),
        PROBE.replace("{plaintext: true}", "{plaintext: true, all: true}"),
        PROBE.replace("  owner: ml", "  jwt: {issuer: corp}\n  owner: ml"),
    ],
)
def test_a_rule_says_plainly_that_it_means_them(wrong: str):
    """And asks for no token, which whoever reads along would have as well."""
    assert "RF1104" in codes(load(MESH, TRAINER, taking(), PULL, wrong))


def test_every_port_that_takes_them_is_a_warning():
    """With who answers for it, where and until when; after its end too, and where a rule waits for nobody."""
    (found,) = load(text(more=", from: [10.0.0.0/8]")).findings
    assert (found.code, found.level, found.line) == ("RF1309", "warning", 12)
    assert "from 10.0.0.0/8 on port 'http' until 2026-12-24T00:00:00+00:00: ml-platform answers" in found.message
    assert codes(load(text(), now=END)) == ["RF1310"]
    assert codes(load(MESH, TRAINER, REGISTRY, PULL, PROBE)) == ["RF1311"]


def test_the_setting_is_in_the_hashes_and_no_other_hash_changes():
    """A rule and a workload without any mean what they did."""
    plain, without = model_of(text()), model_of(joined(MESH, TRAINER, REGISTRY, PULL))
    hashes = {rule.id: rule.hash for rule in plain.rules}
    assert hashes["team-a/pull"] == without.rules[0].hash
    assert len({model_of(text(more=more)).revision for more in ("", ", from: [10.0.0.0/8]")}) == 2
    both = PROBE.replace("[{plaintext: true}]", "[{workload: trainer, namespace: team-a}, {plaintext: true}]")
    alone = PROBE.replace("{plaintext: true}", "{workload: trainer, namespace: team-a}")
    rules = [model_of(MESH, TRAINER, taking(), PULL, one).rules[0] for one in (PROBE, both, alone)]
    assert len({rule.hash for rule in rules}) == 3
