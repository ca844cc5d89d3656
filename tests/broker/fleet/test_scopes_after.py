"""Scopes made from those before: after any sequence of changes they are what they would be from scratch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ringfence.broker.fleet.scope import Scope, Scopes
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.kept import kept
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from tests.broker.fleet import test_scope
from tests.broker.fleet.test_scope import HUB, KEYS, LIMITS, compiled
from tests.broker.fleet.world import MESH, NOW, PULL, model
from tests.policy import intent, test_tokens

SPLIT = """
---
kind: Workload
metadata: {name: canary, namespace: shared}
spec: {match: [{unix.uid: 1009}], serves: [{name: http, port: 8080, protocol: http}]}
---
kind: Traffic
metadata: {name: split, namespace: shared}
spec:
  to: {workload: registry, port: http}
  routes: [{split: [{workload: registry, port: http, weight: 9}, {workload: canary, port: http, weight: 1}]}]
"""
STAR = """
---
kind: External
metadata: {name: star, namespace: shared}
spec: {host: "*.hub.example", dynamic: {labels: one}, ports: [{name: https, port: 443, protocol: http}]}
---
kind: Allow
metadata: {name: star, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{external: star, namespace: shared, port: https}], owner: o, reason: r}
"""
BELOW = """
---
kind: External
metadata: {name: below, namespace: team-b}
spec: {host: a.hub.example, ports: [{name: https, port: 443, protocol: http}]}
"""
ENDS = PULL.replace("owner: ml", 'owner: ml\n  expires: "2026-11-24T13:00:00Z"')
SHADOW = test_scope.DENY.replace("owner: o", "owner: o, mode: shadow")
RAIL = f"---{intent.FABRIC}"
GRANTED = f"{RAIL}---{intent.GRANT}"
TOKEN = f"---{test_tokens.ISSUER}"
ASKS = PULL.replace("  owner:", "  jwt: {issuer: corp}\n  owner:") + TOKEN
# At most one of each line is in force at a time.
CHOICES = (
    ("", PULL, PULL.replace("base model", "another reason"), ENDS, ASKS, ASKS.replace("models,", "")),
    ("", test_scope.WIDE, test_scope.WIDE.replace("namespace: team-a}]", "all: true}]")),
    ("", test_scope.DENY, SHADOW),
    ("", HUB, HUB.replace("hub.example", "other.example")),
    ("", STAR),
    ("", BELOW),
    ("", test_scope.FOREIGN),
    ("", LIMITS, LIMITS.replace("requests: 5", "requests: 6"), SPLIT),
    ("", "---\nkind: Workload\nmetadata: {name: late, namespace: team-a}\nspec: {match: [{unix.uid: 1010}]}\n"),
    ("", RAIL, GRANTED, GRANTED.replace("llm-7b", "llm-8b"), GRANTED.replace("mtu: 4092", "mtu: 2044")),
    ("", "# a comment that moves every line\n"),
)
NAMES = tuple(f"spiffe://example.test/ns/{key.replace('/', '/sa/')}" for key in (*KEYS, "team-a/late"))
END = int((NOW + timedelta(minutes=30)).timestamp())


def seen(scope: Scope | None) -> Any:
    """All of a scope, and where each thing in it was written."""
    if scope is None:
        return None
    part = scope.model
    things = (*part.workloads.values(), *part.externals.values(), *part.rules, *part.traffic.values())
    return scope, part, [one.origin for one in (*things, *part.issuers.values())], scope.workload.origin


class Changes(RuleBasedStateMachine):
    """Documents come, go, change and move, callers are revoked, and time passes or is set back."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen = [""] * len(CHOICES)
        self.revoked: dict[str, bool] = {}
        self.now = NOW

    @initialize()
    def starts(self) -> None:
        """With the workloads alone."""
        self.model = self.told = self.meant()
        self.scopes = Scopes(self.told, self.now)

    def meant(self) -> Model:
        """What the documents say."""
        first, *rest = reversed(self.chosen)
        return model(first + MESH + "".join(rest))

    @rule(line=st.integers(0, len(CHOICES) - 1), pick=st.integers(0, 5), shares=st.booleans())
    def says(self, line: int, pick: int, shares: bool) -> None:  # noqa: FBT001
        """Another document in place of one; a model may share with the one before, or not."""
        self.chosen[line] = CHOICES[line][pick % len(CHOICES[line])]
        after = self.meant()
        self.model = kept(after, self.model) if shares else after
        self.brought()

    @rule(name=st.sampled_from(NAMES), whole=st.sampled_from([None, True, False]))
    def revokes(self, name: str, whole: bool | None) -> None:  # noqa: FBT001
        """An identity, a certificate of it, or neither any more."""
        self.revoked.pop(name, None)
        if whole is not None:
            self.revoked[name] = whole
        self.brought()

    @rule(minutes=st.sampled_from([-61, -31, 31, 61]))
    def waits(self, minutes: int) -> None:
        """Rules and certificates end, and do not."""
        self.now += timedelta(minutes=minutes)
        self.brought()

    def brought(self) -> None:
        """Bring it into force."""
        serials = [
            RevokedSerial(str(at).zfill(32), name, "key", "node", END, 5, "keyCompromise", "stolen")
            for at, (name, whole) in enumerate(sorted(self.revoked.items()))
            if not whole
        ]
        identities = [RevokedIdentity(name, 5, "left", "alice") for name, whole in self.revoked.items() if whole]
        self.told = with_revoked(self.model, Revocations.of(serials, identities))
        self.scopes = self.scopes.after(self.told, self.now)

    @invariant()
    def scopes_are_what_they_would_be_from_scratch(self) -> None:
        """To the byte that a proxy is sent, and to the line that a refusal names."""
        scratch = Scopes(self.told, self.now)
        for key in (*KEYS, "shared/canary", "team-a/late"):
            assert seen(self.scopes.of(key)) == seen(scratch.of(key))
            one, other = self.scopes.of(key), scratch.of(key)
            if one is not None and other is not None:
                assert compiled(one.model, key) == compiled(other.model, key)
        for name in NAMES:
            assert self.scopes.workload(SpiffeId.parse(name)) == scratch.workload(SpiffeId.parse(name))


Changes.TestCase.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestChanges = Changes.TestCase


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HUB, HUB.replace("hub.example", "other.example")),
        (LIMITS, LIMITS.replace("requests: 5", "requests: 6")),
        (SPLIT, SPLIT.replace("port: 8080", "port: 8081")),
        (ASKS, ASKS.replace("audiences: [models,", "audiences: [")),
        (STAR, STAR + BELOW),
        (test_scope.WIDE, CHOICES[1][2]),
        (PULL, ""),
        ("", PULL),
    ],
)
def test_each_kind_of_change_is_found(before: str, after: str) -> None:
    """What is left alone is left alone because nothing of it is another."""
    wide = test_scope.WIDE if "quota" in before or "split" in before else ""
    one, other = model(MESH + wide + before), model(MESH + wide + after)
    scopes = Scopes(one, NOW)
    made = [seen(scopes.of(key)) for key in KEYS]

    now, scratch = scopes.after(kept(other, one), NOW), Scopes(other, NOW)

    assert [seen(now.of(key)) for key in KEYS] == [seen(scratch.of(key)) for key in KEYS] != made


@pytest.mark.parametrize("rules", [PULL, test_scope.WIDE, CHOICES[1][2]])
def test_a_caller_is_found_by_each_way_to_name_it(rules: str) -> None:
    """By its identity, its namespace, and as one of the mesh."""
    one = model(MESH + rules)
    scopes = Scopes(one, NOW)
    was = scopes.of("shared/registry")
    revoked = with_revoked(one, Revocations.of([], [RevokedIdentity(NAMES[0], 5, "left", "alice")]))

    assert scopes.after(revoked, NOW).of("shared/registry") == Scopes(revoked, NOW).of("shared/registry") != was


def test_what_nothing_has_changed_is_the_same_scope() -> None:
    """Only the two ends of a rule are looked at again when it changes."""
    one = model(MESH + PULL + HUB)
    before = Scopes(one, NOW)
    keys = ("team-a/trainer", "shared/registry", "team-b/notebook")
    known = [before.of(key) for key in keys]

    after = before.after(kept(model(MESH + PULL.replace("owner: ml", "owner: other") + HUB), one), NOW)

    assert [after.of(key) is was for key, was in zip(keys, known, strict=True)] == [False, False, True]


@pytest.mark.parametrize(
    ("was", "becomes"), [("", RAIL), (RAIL, GRANTED), (GRANTED, GRANTED.replace("llm-7b", "llm-8b")), (GRANTED, "")]
)
def test_no_proxy_is_looked_at_again_for_a_fabric(was: str, becomes: str) -> None:
    """None stands in one, and none is told of one."""
    one = model(MESH + PULL + was)
    before = Scopes(one, NOW)
    keys = ("team-a/trainer", "shared/registry", "team-b/notebook")
    known = [before.of(key) for key in keys]

    after = before.after(kept(model(MESH + PULL + becomes), one), NOW)

    assert [after.of(key) is made for key, made in zip(keys, known, strict=True)] == [True, True, True]
    assert all(made is not None and not made.model.fabrics and not made.model.fabric_grants for made in known)


def test_a_line_that_moved_makes_no_other_scope_and_is_known() -> None:
    """What a proxy refuses is found where it is now, though nothing is sent to it."""
    one = model(MESH + PULL)
    before = Scopes(one, NOW)
    was = before.of("shared/registry")

    now = before.after(kept(model(f"# a comment\n{MESH}{PULL}"), one), NOW).of("shared/registry")

    assert was is not None
    assert now is not None
    assert now == was
    assert now.model.rules[0].origin.line == was.model.rules[0].origin.line + 1
