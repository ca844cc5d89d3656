"""Revocations in the fleet: who is told, who is turned out, and whose endpoints are gone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.scope import Scopes
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.policy.revoked import with_revoked
from ringfence.proto.status import Code
from ringfence.xds.types import ENDPOINT, LISTENER
from tests.broker.fleet.test_fleet import SERVES, UPSTREAM
from tests.broker.fleet.test_scope import KEYS, PARTS
from tests.broker.fleet.test_scope import compiled as compiled_of
from tests.broker.fleet.world import MESH, NOW, PULL, FakeProxy, MemoryLog, compiled, fleet_of, model

TRAINER, NOTEBOOK = "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/team-b/sa/notebook"
REGISTRY = "spiffe://example.test/ns/shared/sa/registry"
SERIAL = "7".zfill(32)
ENDS = datetime.fromtimestamp(2**31, UTC)


def whole(name: str) -> Revocations:
    """That identity is revoked."""
    return Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")])


def one(name: str) -> Revocations:
    """One certificate of it is."""
    return Revocations.of(
        [RevokedSerial(SERIAL, name, "key", "node", int(ENDS.timestamp()), 5, "keyCompromise", "stolen")]
    )


async def test_only_proxies_whose_rules_mean_the_caller_are_told() -> None:
    """The registry has a rule for the trainer; whoever has none denies it by default and is left alone."""
    fleet = await fleet_of()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    notebook = await FakeProxy(fleet, "team-b/notebook").start()
    before, untouched = fleet.counts.compiles, len(notebook.call.sent)

    assert fleet.revoke(whole(TRAINER)) == 1
    await registry.settle()

    assert fleet.counts.compiles == before + 1
    assert len(notebook.call.sent) == untouched
    assert fleet.revoke(whole(TRAINER)) == 0, "the same again is nothing new"
    assert fleet.revoke(Revocations()) == 1, "a lifted one is told to the same"


async def test_certificates_that_end_are_told_to_nobody() -> None:
    """An hour after a node was revoked its certificates end one by one: no chain drains for any of them."""
    fleet = await fleet_of()
    await FakeProxy(fleet, "shared/registry", **SERVES).start()

    assert fleet.revoke(one(TRAINER)) == 1
    assert fleet.revoke(Revocations()) == 0


async def test_a_stranger_that_is_revoked_costs_nobody_anything() -> None:
    """No rule means the notebook."""
    fleet = await fleet_of()
    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await FakeProxy(fleet, "team-a/trainer").start()

    assert fleet.revoke(whole(NOTEBOOK)) == 0


@pytest.mark.parametrize("revocations", [whole(REGISTRY), one(REGISTRY)])
async def test_a_revoked_server_leaves_everybodys_endpoints_at_once(revocations: Revocations) -> None:
    """Its stream ends with PERMISSION_DENIED, without the grace that a lost stream has, and it is not remembered."""
    log = MemoryLog()
    fleet = await fleet_of(log=log)
    registry = await FakeProxy(fleet, "shared/registry", serial=SERIAL, **SERVES).start()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}

    assert fleet.revoke(revocations) == 2
    await trainer.settle()
    await fleet._offers.journal.flush()

    assert registry.call.ended is not None
    assert registry.call.ended.code is Code.PERMISSION_DENIED
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
    assert log.rows == []
    assert len(fleet) == 1
    registry.leave()
    assert fleet.tick() in {None, ENDS}, "no grace is left to wait for"


async def test_a_revoked_proxy_is_told_to_let_go_of_everything_before_its_stream_ends() -> None:
    """It would go on with what it has; one that may come back with another certificate keeps it."""
    for revocations, left in ((whole(REGISTRY), set()), (one(REGISTRY), {"shared/registry"})):
        fleet = await fleet_of()
        registry = await FakeProxy(fleet, "shared/registry", serial=SERIAL, **SERVES).start()
        fleet.revoke(revocations)
        await registry.settle()
        assert registry.holds[LISTENER].keys() == left


async def test_a_proxy_that_came_back_with_another_certificate_is_served_and_offered() -> None:
    """Its older stream may still be open: only that one is turned out, and its end takes nothing away."""
    fleet = await fleet_of()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    old = await FakeProxy(fleet, "shared/registry", serial=SERIAL, **SERVES).start()
    new = await FakeProxy(fleet, "shared/registry", serial="8".zfill(32), **SERVES).start()

    fleet.revoke(one(REGISTRY))
    old.leave()
    await trainer.settle()

    assert new.call.ended is None
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    assert fleet.tick() == ENDS, "nothing is due but the end of the certificate"


async def test_revocations_outlive_a_change_of_intent() -> None:
    """They are no part of it: the next apply says nothing of them and they hold."""
    fleet = await fleet_of()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    fleet.revoke(whole(TRAINER))
    fleet.apply(model(MESH + PULL))
    scope = registry.proxy.scope
    assert scope is not None
    assert scope.model.revoked.keys() == {TRAINER}


async def test_what_is_revoked_before_the_first_intent_holds_from_its_first_snapshot_on() -> None:
    """A server that starts knows what was revoked before it serves anybody."""
    fleet = Fleet(compiled, MemoryLog(), clock=lambda: NOW)
    assert fleet.revoke(whole(TRAINER)) == 0
    await fleet.restore()
    fleet.apply(model())
    assert fleet.scopes is not None
    assert fleet.scopes.model.revoked.keys() == {TRAINER}


async def test_a_change_of_tainted_authorities_touches_everybody_once() -> None:
    """It holds from the first snapshot on, and over changes of the intent."""
    fleet = Fleet(compiled, MemoryLog(), clock=lambda: NOW)
    assert fleet.distrust(frozenset({"a"})) == 0
    await fleet.restore()
    fleet.apply(model())
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await FakeProxy(fleet, "team-a/trainer").start()

    assert fleet.distrust(frozenset({"a"})) == 0
    assert fleet.distrust(frozenset()) == 2
    assert fleet.distrust(frozenset({"b"})) == 2
    fleet.apply(model(MESH + PULL))
    assert registry.proxy.scope is not None
    assert registry.proxy.scope.model.tainted == {"b"}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", [TRAINER, NOTEBOOK, REGISTRY])
@pytest.mark.parametrize("revoked", [whole, one])
def test_the_part_compiles_to_what_the_whole_compiles_to(key: str, name: str, revoked: object) -> None:
    """Whoever is left out of a scope would have changed no byte, and equal scopes mean equal bytes."""
    plain = model(MESH + "".join(PARTS))
    assert callable(revoked)
    now = with_revoked(plain, revoked(name))
    scope, before = Scopes(now, NOW).of(key), Scopes(plain, NOW).of(key)
    assert scope is not None
    made = compiled_of(now, key)
    assert compiled_of(scope.model, key) == made
    if scope == before:
        assert compiled_of(plain, key) == made
