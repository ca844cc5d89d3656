"""Models that share what did not change."""

from __future__ import annotations

from ringfence.policy.kept import kept
from tests.policy import intent

RULE = """
kind: Allow
metadata: {name: NAME, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: registry, namespace: shared, port: http}], owner: o, reason: r}
"""
ONE, TWO = RULE.replace("NAME", "one"), RULE.replace("NAME", "two")


def test_what_says_the_same_in_the_same_place_is_the_same_object() -> None:
    """And what differs, if only in its line, is not."""
    before = intent.model_of(intent.joined(intent.MESH, intent.TRAINER, intent.REGISTRY, ONE, TWO))
    after = intent.model_of(
        intent.joined(intent.MESH, intent.TRAINER, intent.REGISTRY, ONE.replace("reason: r", "reason: other"), TWO)
    )
    longer = ONE.replace("metadata", "# a line\nmetadata")
    moved = intent.model_of(intent.joined(intent.MESH, intent.TRAINER, intent.REGISTRY, longer, TWO))

    assert kept(after, before) == after
    assert [one is other for one, other in zip(kept(after, before).rules, before.rules, strict=True)] == [False, True]
    assert kept(after, before).workloads["team-a/trainer"] is before.workloads["team-a/trainer"]
    lines = [rule.origin.line for rule in kept(moved, before).rules]
    assert lines == [rule.origin.line for rule in moved.rules] != [rule.origin.line for rule in before.rules]
