"""Hashes of meaning: what changes them and what does not."""

from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.load import load_documents
from ringfence.policy.model import Model, Rule
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, joined, model_of

RULE = """
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}, {namespace: shared}]
  to: [{workload: registry, namespace: shared, port: http}, {external: hub, namespace: shared}]
  http: [{methods: [GET, HEAD], paths: ["/a", "/b/**"]}, {methods: [PUT]}]
  expires: 2027-01-01T00:00:00Z
  owner: ml
  reason: why
"""


def rule_of(text: str = RULE, *others: str) -> Rule:
    """The rule that *text* means beside the usual documents."""
    return next(r for r in model_of(MESH, TRAINER, REGISTRY, HUB, text, *others).rules if r.name == "pull")


def test_what_does_not_change_the_meaning_does_not_change_the_hash():
    """Comments, order, doubles, reason, owner, spelling of time and neighbours leave the bytes at the proxies alone."""
    same = [
        RULE.replace("spec:", "# a comment\nspec:  # another"),
        RULE.replace(
            "[{workload: trainer}, {namespace: shared}]",
            "[{namespace: shared}, {workload: trainer, namespace: team-a}]",
        ),
        RULE.replace("GET, HEAD", "HEAD, GET, GET"),
        RULE.replace('"/a", "/b/**"', '"/b/**", "/a"'),
        RULE.replace("external: hub, namespace: shared", "external: hub, namespace: shared, port: https"),
        RULE.replace("owner: ml", "owner: someone").replace("why", "because"),
        RULE.replace("2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00"),
        RULE.replace("owner: ml", "mode: enforce\n  owner: ml"),
    ]
    assert {rule_of(text).hash for text in same} == {rule_of().hash}
    assert rule_of(RULE, PULL.replace("name: pull", "name: neighbour")).hash == rule_of().hash


def test_every_part_of_the_meaning_changes_the_hash():
    """Two rules that could judge one request differently never share a hash."""
    other = [
        RULE,
        RULE.replace("Allow", "Deny"),
        RULE.replace("{workload: trainer}, ", ""),
        RULE.replace("{namespace: shared}]", "{all: true}]"),
        RULE.replace(", {external: hub, namespace: shared}", ""),
        RULE.replace("GET, HEAD", "GET"),
        RULE.replace(", {methods: [PUT]}", ""),
        RULE.replace('"/a", ', ""),
        RULE.replace("methods: [PUT]", "methods: [PUT], headers: [{name: x-role, exact: ro}]"),
        RULE.replace("methods: [PUT]", "methods: [PUT], headers: [{name: x-role, prefix: ro}]"),
        RULE.replace("2027-01-01T00:00:00Z", "2027-01-01T00:00:01Z"),
        RULE.replace("  expires: 2027-01-01T00:00:00Z\n", ""),
        RULE.replace("owner: ml", "mode: shadow\n  owner: ml"),
    ]
    assert len({rule_of(text).hash for text in other}) == len(other)
    elsewhere = model_of(MESH.replace("example", "other"), TRAINER, REGISTRY, HUB, RULE).rules[0]
    assert elsewhere.hash != rule_of().hash


def test_a_revision_is_the_content_of_the_whole():
    """Owner, reason and every field of every document count; places and comments do not."""
    base = model_of(MESH, TRAINER, REGISTRY, HUB, RULE)

    def revision(old: str, new: str) -> str:
        text = joined(MESH, TRAINER, REGISTRY, HUB, RULE)
        assert old in text
        loaded = load_documents([("elsewhere.yaml", "# comment\n" + text.replace(old, new))])
        assert loaded.model is not None
        return loaded.model.revision

    assert revision("kind: Mesh", "kind: Mesh  # same") == base.revision
    changes = [
        ("reason: why", "reason: no"),
        ("owner: ml", "owner: me"),
        ("role: training", "role: other"),
        ("unix.uid: 1001", "unix.uid: 1003"),
        ("port: 8080", "port: 8081"),
        ("protocol: postgres", "protocol: tcp"),
        ("host: hub.example", "host: hub2.example"),
        ("port: 443, protocol: http", "port: 443, protocol: http, tls: false"),
        ("trustDomain: example.test", "trustDomain: example.test, defaults: {ttl: {jwt: 1m}}"),
        ("role: training", "role: training, launch: {by: [{unix.uid: 1}]}"),
        ("role: training", "role: training, dnsNames: [a.example]"),
    ]
    assert len({revision(*change) for change in changes} | {base.revision}) == len(changes) + 1


@given(st.permutations([MESH, TRAINER, REGISTRY, HUB, RULE, PULL.replace("name: pull", "name: second")]))
def test_the_order_of_documents_means_nothing(documents: list[str]):
    """Any order gives one model, one revision and the same hashes."""
    model, other = model_of(*documents), model_of(*sorted(documents))
    assert isinstance(model, Model)
    assert model == other
