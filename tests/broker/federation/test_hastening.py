"""Who may have a bundle fetched before its hint says so: those whose entries federate with it, by a relation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.federation.relation import Profile, Relation
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.broker.world import AGENT, TD, World, world

B, C = TrustDomain("b.test"), TrustDomain("c.test")
OTHER_AGENT = SpiffeId(TD, "/ringfence/agent/join_token/two")


@dataclass
class Scene:
    """A relation with b.test and one with c.test, none of them due."""

    world: World
    federation: Federation
    hastening: Hastening

    @property
    def due(self) -> set[TrustDomain]:
        """Whose bundle is to be fetched now."""
        now = self.world.clock()
        return {state.relation.trust_domain for state in self.federation.states if state.next_at <= now}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Fetched a moment ago."""
    async with world(tmp_path, MemoryKeys()) as made:

        async def fetch(relation: Relation, _: SpiffeBundle | None) -> bytes:
            return SpiffeBundle(relation.trust_domain, sequence=1).to_json()

        federation = Federation(lambda: made.trust.bundle, made.store, made.bell, clock=made.clock, fetch=fetch)
        for domain in (B, C):
            await federation.create(Relation(domain, f"https://{domain}/", Profile.WEB), None)
            await federation.refresh(domain)
        found = Scene(made, federation, Hastening(federation, made.registry))
        assert found.due == set()
        yield found


async def test_a_proxy_has_a_say_over_what_its_workload_federates_with(scene: Scene) -> None:
    """Not over the relation of others, and none once its entry federates no more."""
    trainer = (await scene.world.entry(federates_with=(B,))).spiffe_id
    stranger = (await scene.world.entry("other")).spiffe_id
    scene.hastening.missed_by_proxy(trainer, C)
    scene.hastening.missed_by_proxy(stranger, B)
    scene.hastening.missed_by_proxy(SpiffeId(TD, "/ns/a/sa/nobody"), B)
    assert scene.due == set()
    scene.hastening.missed_by_proxy(trainer, B)
    assert scene.due == {B}


async def test_an_entry_that_comes_later_counts(scene: Scene) -> None:
    """What was looked up before is not believed for ever."""
    late = SpiffeId(TD, "/ns/a/sa/late")
    scene.hastening.missed_by_proxy(late, B)
    assert scene.due == set()
    await scene.world.entry("late", federates_with=(B,))
    scene.hastening.missed_by_proxy(late, B)
    assert scene.due == {B}


async def test_an_identity_that_a_rule_makes_counts(scene: Scene) -> None:
    """By the template of its path."""
    await scene.world.entry("any", federates_with=(B,), template="/ns/{k8s.ns}/sa/{k8s.sa}")
    scene.hastening.missed_by_proxy(SpiffeId(TD, "/ns/a"), B)
    assert scene.due == set()
    scene.hastening.missed_by_proxy(SpiffeId(TD, "/ns/a/sa/b"), B)
    assert scene.due == {B}


async def test_an_agent_has_a_say_over_what_its_entries_federate_with(scene: Scene) -> None:
    """Of the entries that it may ask for."""
    await scene.world.entry(parent_id=AGENT, federates_with=(B,))
    scene.hastening.missed_by_agent(OTHER_AGENT, B.name)
    scene.hastening.missed_by_agent(AGENT, C.name)
    assert scene.due == set()
    scene.hastening.missed_by_agent(AGENT, B.name)
    assert scene.due == {B}


async def test_without_a_relation_nobody_is_asked(scene: Scene) -> None:
    """A bundle that was set by hand has no URL, and one that a peer claims is none."""
    by_hand = TrustDomain("d.test")
    await scene.federation.set_bundle(SpiffeBundle(by_hand, sequence=1))
    trainer = (await scene.world.entry(federates_with=(by_hand,))).spiffe_id
    scene.hastening.missed_by_proxy(trainer, by_hand)
    for name in (by_hand.name, TD.name, "", "https://evil.test/", "spiffe://b.test", "B.test"):
        scene.hastening.missed_by_agent(AGENT, name)
    assert scene.due == set()


async def test_once_a_bundle_is_due_nothing_more_happens(scene: Scene) -> None:
    """A stranger who knocks a hundred times is one that knocks twice: now, and when five seconds have passed."""
    trainer = (await scene.world.entry(federates_with=(B,))).spiffe_id
    scene.hastening.missed_by_proxy(trainer, B)
    await scene.federation.refresh(B)
    for _ in range(100):
        scene.world.clock.turn(seconds=0.01)
        scene.hastening.missed_by_proxy(trainer, B)
    assert scene.due == set()
    scene.world.clock.turn(seconds=4)
    assert scene.due == {B}
