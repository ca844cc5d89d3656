"""The intent in force: all or nothing, restored, and joined to the apply that brought each rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringfence.broker.intent import Intent, refused
from ringfence.broker.store.document import Document
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.model import Model
from tests.broker.world import TD, World, let_write, world

WORKLOADS = """\
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {name: trainer, namespace: a}
spec: {role: training, match: [{unix.uid: 1001}], launch: {by: [{unix.uid: 1000}]}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {name: registry, namespace: a}
spec: {role: registry, match: [{unix.uid: 1002}], serves: [{name: http, port: 8080, protocol: http}]}
"""
RULE = """\
apiVersion: ringfence.dev/v1alpha1
kind: Allow
metadata: {name: pull, namespace: a}
spec: {from: [{workload: trainer}], to: [{workload: registry, port: http}], owner: ml, reason: base model}
"""
BASE = [Document("w.yaml", WORKLOADS.encode()), Document("r.yaml", RULE.encode())]


class Proxies:
    """Remembers what it was told to enforce."""

    def __init__(self) -> None:
        self.models: list[Model] = []

    async def apply(self, model: Model) -> int:
        """Take it."""
        self.models.append(model)
        return 7


@asynccontextmanager
async def intent(folder: Path, keys: MemoryKeys | None = None) -> AsyncIterator[tuple[Intent, World, Proxies]]:
    """An intent that was restored; entered again on the same folder it is a restarted server's."""
    async with world(folder, keys or MemoryKeys()) as w:
        proxies = Proxies()
        made = Intent(
            TD,
            store=w.store,
            feed=w.feed,
            registry=w.registry,
            proxies=proxies,
            clock=w.clock,
            federated=lambda: {TrustDomain("partner.example")},
        )
        await made.restore()
        yield made, w, proxies


def hash_of(held: Intent, rule: str = "a/pull") -> str:
    """The hash of a rule in force."""
    assert held.model is not None
    return next(r.hash for r in held.model.rules if r.id == rule)


async def test_an_apply_reaches_proxies_entries_and_launch_rules(tmp_path: Path) -> None:
    """The model goes to the proxies, what it registers into the registry."""
    async with intent(tmp_path) as (held, w, proxies):
        outcome = await held.apply(BASE)
        assert outcome.revision == held.revision == proxies.models[-1].revision
        assert outcome.proxies == 7
        assert outcome.changes == (
            ("Allow a/pull", "created"),
            ("Workload a/registry", "created"),
            ("Workload a/trainer", "created"),
        )
        assert {(str(e.spiffe_id), e.origin) for e in w.registry.every()} == {
            ("spiffe://example.org/ns/a/sa/trainer", "a/trainer"),
            ("spiffe://example.org/ns/a/sa/registry", "a/registry"),
        }
        assert [rule.name for rule in w.registry.launch_rules] == ["trainer"]


async def test_callers_of_a_partner_are_known_by_its_bundle(tmp_path: Path) -> None:
    """Whoever they may call federates with it; where there is no bundle of it, the apply says so."""
    async with intent(tmp_path) as (held, w, _):
        for domain, found in (("partner.example", []), ("stranger.example", ["RF1305"])):
            rule = RULE.replace("{workload: trainer}", f"{{trustDomain: {domain}}}").replace("pull", "partner")
            outcome = await held.apply([*BASE, Document("p.yaml", rule.encode())])
            assert [finding.code for finding in outcome.findings] == found
            federates = {entry.origin: entry.federates_with for entry in w.registry.every()}
            assert federates == {"a/trainer": (), "a/registry": (TrustDomain(domain),)}
        await held.apply(BASE)
        assert {entry.federates_with for entry in w.registry.every()} == {()}


async def test_an_error_anywhere_changes_nothing(tmp_path: Path) -> None:
    """The findings come back, and what was in force stays."""
    async with intent(tmp_path) as (held, _, proxies):
        before = await held.apply(BASE)
        outcome = await held.apply([*BASE, Document("bad.yaml", b"kind: Nonsense\n")])
        assert [finding.level for finding in outcome.findings if finding.path == "bad.yaml"]
        assert held.revision == before.revision
        assert len(proxies.models) == 1
        with pytest.raises(RingfenceError, match=r"bad\.yaml:"):
            raise refused(outcome.findings)


async def test_a_dry_run_says_what_would_change(tmp_path: Path) -> None:
    """And changes nothing."""
    async with intent(tmp_path) as (held, _, proxies):
        await held.apply(BASE)
        before = held.revision
        outcome = await held.apply(BASE[:1], dry_run=True)
        assert ("Allow a/pull", "pruned") in outcome.changes
        assert outcome.revision != before
        assert held.revision == before
        assert len(proxies.models) == 1


async def test_a_restarted_server_has_the_intent_that_was_applied_last(tmp_path: Path) -> None:
    """Model, launch rules and origins, before anyone is served."""
    keys = MemoryKeys()
    async with intent(tmp_path, keys) as (held, _, _):
        await held.apply(BASE, author="me", commit="c1")
        revision, facts = held.revision, held.lookup("a/pull", hash_of(held))
    async with intent(tmp_path, keys) as (held, w, proxies):
        assert held.revision == revision == proxies.models[0].revision
        assert held.lookup("a/pull", hash_of(held)) == facts
        assert len(w.registry.launch_rules) == 1
        assert len(w.registry) == 3


async def test_a_rule_keeps_the_commit_that_brought_it_when_its_line_moves(tmp_path: Path) -> None:
    """A neighbour's edit moves the line, not the blame."""
    async with intent(tmp_path) as (held, _, _):
        first = await held.apply(BASE, author="me", commit="c1")
        await held.apply([BASE[0], Document("r.yaml", b"# a word\n" + RULE.encode())], author="you", commit="c2")
        facts = held.lookup("a/pull", hash_of(held))
        assert facts is not None
        assert (facts.path, facts.line) == ("r.yaml", 2)
        assert (facts.author, facts.commit, facts.revision) == ("me", "c1", first.revision)


async def test_a_rule_that_comes_back_is_of_the_commit_that_brought_it_back(tmp_path: Path) -> None:
    """Its first life is over."""
    async with intent(tmp_path) as (held, _, _):
        await held.apply(BASE, author="me", commit="c1")
        rule_hash = hash_of(held)
        await held.apply(BASE[:1], author="me", commit="c2")
        gone = held.lookup("a/pull", rule_hash)
        assert gone is not None
        assert gone.commit == "c1"
        await held.apply(BASE, author="you", commit="c3")
        back = held.lookup("a/pull", rule_hash)
        assert back is not None
        assert back.commit == "c3"


async def test_a_rule_of_another_meaning_is_another_rule(tmp_path: Path) -> None:
    """Both meanings are known: old decisions stay explained."""
    async with intent(tmp_path) as (held, _, _):
        await held.apply(BASE, commit="c1")
        old = hash_of(held)
        changed = RULE.replace("owner: ml", "http: [{methods: [GET]}], owner: ml").encode()
        await held.apply([BASE[0], Document("r.yaml", changed)], commit="c2")
        new = hash_of(held)
        assert old != new
        found = [held.lookup("a/pull", each) for each in (old, new, "unknown")]
        assert [facts and facts.commit for facts in found] == ["c1", "c2", None]


async def test_what_documents_no_longer_say_is_pruned(tmp_path: Path) -> None:
    """Entries of a workload that is gone go, one made by hand stays."""
    async with intent(tmp_path) as (held, w, _):
        own = await w.entry("by-hand")
        await held.apply(BASE)
        await held.apply([Document("w.yaml", WORKLOADS.split("---")[1].encode())])
        assert {e.origin for e in w.registry.every()} == {"api", "a/registry"}
        assert w.registry.get(own.id) == own


async def test_documents_of_another_trust_domain_are_refused(tmp_path: Path) -> None:
    """With the place that says so."""
    mesh = "apiVersion: ringfence.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec: {trustDomain: other.org}\n"
    async with intent(tmp_path) as (held, _, _):
        with pytest.raises(RingfenceError, match=r"other\.org") as caught:
            await held.apply([Document("mesh.yaml", mesh.encode())])
        assert caught.value.where.startswith("mesh.yaml:")
        assert held.model is None
    assert TrustDomain("other.org") != TD


async def test_a_store_that_fails_leaves_the_intent_in_force_as_it_was(tmp_path: Path) -> None:
    """Nothing is enforced that a restart would forget."""
    async with intent(tmp_path) as (held, w, proxies):
        await held.apply(BASE)
        before = held.revision
        await let_write(w.store, allowed=False)
        with pytest.raises(RingfenceError, match="may not be written"):
            await held.apply(BASE[:1])
        assert held.revision == before
        assert len(proxies.models) == 1


async def test_applying_the_same_again_leaves_no_trace(tmp_path: Path) -> None:
    """A server that restarts with --intent does not fill its history."""
    async with intent(tmp_path) as (held, w, _):
        await held.apply(BASE, author="me")
        revision = w.registry.revision
        outcome = await held.apply(BASE, author="you")
        assert {action for _, action in outcome.changes} == {"unchanged"}
        assert w.registry.revision == revision
