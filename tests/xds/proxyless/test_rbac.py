"""Rules in gRPC's dialect mean what the evaluator means, or deny: a property held without gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Any

import pytest
from hypothesis import given

from ringfence.policy.callers import NOBODY, RevokedCaller, Source
from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Destination, Effect, HttpMatch, Mode, Protocol, Rule
from ringfence.policy.paths import PathPattern
from ringfence.xds import codec
from ringfence.xds.proxyless import requests
from ringfence.xds.proxyless.losses import losses
from ringfence.xds.proxyless.rbac import ALLOW_FILTER, DENY_FILTER, filters, overrides
from ringfence.xds.rbac import PortRules
from tests.differential.cases import (
    ASKED,
    CERTIFICATES,
    CONDITIONS,
    HERE,
    IDENTITIES,
    PLAIN,
    REVOKED,
    SERVER,
    Asked,
    expected,
    model_of,
    rules,
)
from tests.differential.divergences import Case, explained
from tests.policy.intent import NOW
from tests.xds.proxyless.reader import Call, allowed

TRAINER = str(IDENTITIES[0])


def override(some: tuple[Rule, ...], revoked: Mapping[str, RevokedCaller] = NOBODY) -> Any:
    """The two filters of a port, as a route has them."""
    model = model_of(some, {"rpc": 1}, Protocol.GRPC, revoked)
    return overrides(PortRules.at(model, Destination(SERVER, "rpc"), NOW), NOW)


def lets_in(some: tuple[Rule, ...], asked: Asked, revoked: Mapping[str, RevokedCaller] = NOBODY) -> bool:
    """The verdict of gRPC, by a reader of its rules."""
    return allowed(override(some, revoked), Call(CERTIFICATES[asked.certificate], asked.path, asked.headers))


def a_rule(effect: Effect = Effect.ALLOW, **more: Any) -> Rule:
    """A rule for the trainer and every request."""
    told = {"namespace": "t", "name": effect.value, "effect": effect, "mode": Mode.ENFORCE, "http": ()}
    told |= {"sources": (Source(IDENTITIES[0], None),), "destinations": (Destination(SERVER, "rpc"),)}
    told |= {"owner": "o", "reason": "r", "expires": None, "hash": "0" * 12, "origin": HERE}
    return Rule(**told | more)  # type: ignore[arg-type]


@given(rules(), REVOKED, ASKED)
def test_grpc_says_what_the_evaluator_says_of_plain_calls_and_denies_what_differs(
    some: tuple[Rule, ...], revoked: Mapping[str, RevokedCaller], asked: Asked
):
    """A difference is one that is listed, and but for one kind it is a denial."""
    model = model_of(some, {"rpc": 1}, Protocol.GRPC, revoked)
    verdict = expected(model, "rpc", asked)
    wanted = verdict is not None and verdict.allowed
    # gRPC's server refuses other methods before any filter, which the reader does not know.
    found = asked.method == "POST" and lets_in(some, asked, revoked)
    assert explained(Case(asked, some, revoked), grpc=found, evaluator=wanted)


@pytest.mark.parametrize("certificate", sorted(name for name in CERTIFICATES if name.startswith("two")))
def test_a_second_name_is_of_no_use_to_an_allow_of_one(certificate: str):
    """The filters ask whether any name matches; the rule demands that no other does not."""
    asked = Asked(certificate, "POST", PLAIN[0])
    assert lets_in((a_rule(),), replace(asked, certificate="team-a/sa/trainer"))
    assert not lets_in((a_rule(),), asked)


def test_no_rule_at_all_denies_everybody():
    """Two filters with rules in both: an empty Allow is not a filter left out."""
    assert not lets_in((), Asked("team-a/sa/trainer", "POST", PLAIN[0]))
    found = override(())
    assert sorted(found) == [ALLOW_FILTER, DENY_FILTER]


def test_a_route_without_overrides_lets_nobody_in():
    """The filters of the listener themselves: deny denies everybody, and allow allows nobody."""
    deny, allow = (codec.unpack(f["typed_config"].SerializeToString()) for f in filters())
    assert (deny.rules.action, allow.rules.action) == (1, 0)
    assert all(p.permissions[0].any and p.principals[0].any for p in deny.rules.policies.values())
    assert all(p.principals[0].not_id.any for p in allow.rules.policies.values())


def test_shadow_rules_and_serials_are_said_to_be_lost():
    """One is not judged, the other is held by denying all of the identity."""
    shadow = a_rule(Effect.DENY, mode=Mode.SHADOW)
    revoked = {TRAINER: RevokedCaller(whole=False, serials=frozenset({"0" * 32}), newest=1)}
    model = model_of((a_rule(), shadow), {"rpc": 1}, Protocol.GRPC, revoked)
    said = [str(loss) for loss in losses(model, model.workloads[SERVER], NOW)]
    assert said == [
        "t/deny: a rule in shadow mode is not judged",
        f"{TRAINER}: one of its certificates is revoked, so all of them are refused",
    ]
    assert not lets_in((a_rule(),), Asked("team-a/sa/trainer", "POST", PLAIN[0]), revoked)


def test_an_allow_for_other_methods_than_post_allows_no_call():
    """No call has another: a rule for GET is not a rule for everything."""
    get = HttpMatch(frozenset({"GET"}), ())
    assert not lets_in((a_rule(http=(get,)),), Asked("team-a/sa/trainer", "POST", PLAIN[0]))
    assert lets_in(
        (a_rule(http=(get, replace(get, methods=frozenset({"POST"})))),), Asked("team-a/sa/trainer", "POST", PLAIN[0])
    )


@pytest.mark.parametrize(
    ("lines", "allowed", "denied"),
    [("one", True, True), ("two lines", False, True), ("after what is not ASCII", False, True)],
)
def test_one_of_several_values_is_enough_for_a_deny_and_not_for_an_allow(lines: str, *, allowed: bool, denied: bool):
    """Whichever of them the application takes."""
    asked = Asked("team-a/sa/trainer", "POST", PLAIN[0], lines)
    match = HttpMatch(frozenset(), (), (HeaderMatch("x-role", exact="ro"),))
    assert lets_in((a_rule(http=(match,)),), asked) == allowed
    assert lets_in((a_rule(), a_rule(Effect.DENY, http=(match,))), asked) == (not denied)


@pytest.mark.parametrize("name", ["grpc-timeout", "x-bin", "content-type", "user-agent"])
def test_headers_that_grpc_reads_itself_cannot_be_asked_for(name: str):
    """It refuses to be asked for some, and of others its rules see what it made of them."""
    match = HttpMatch(frozenset(), (), (HeaderMatch(name, exact="x"),))
    asked = Asked("team-a/sa/trainer", "POST", PLAIN[0])
    assert not lets_in((a_rule(http=(match,)),), asked)
    assert not lets_in((a_rule(), a_rule(Effect.DENY, http=(match,))), asked)
    assert requests.unsayable(a_rule(http=(match,))) == [f"header {name}"]


@dataclass(frozen=True, slots=True)
class _Later(HttpMatch):
    """A match with a condition that the language has not yet."""

    weather: str = ""


def test_a_condition_that_grpc_cannot_say_narrows_an_allow_and_widens_a_deny():
    """Whatever comes into the language later is never left out of an Allow unsaid."""
    match = _Later(frozenset(), (PathPattern(PLAIN[0]),), weather="rain")
    asked = Asked("team-a/sa/trainer", "POST", PLAIN[0])
    assert not lets_in((a_rule(http=(match,)),), asked)
    assert not lets_in((a_rule(), a_rule(Effect.DENY, http=(match,))), asked)
    assert lets_in((a_rule(http=(replace(match, weather=""),)),), asked)
    assert requests.unsayable(a_rule(http=(match,))) == ["weather"]


def test_a_rule_with_a_condition_of_its_own_is_no_allow_either():
    """The same beside `http`."""
    later = make_dataclass("later", [("weather", str, "")], bases=(Rule,), frozen=True)
    rule = a_rule()
    with_weather = later(**{f.name: getattr(rule, f.name) for f in fields(rule)}, weather="rain")
    assert requests.permissions(with_weather) == []
    assert requests.unsayable(with_weather) == ["weather"]


def test_every_field_of_a_source_has_its_meaning_in_a_principal():
    """One that is new must be asked for, or narrow what is allowed: here is where that is remembered."""
    assert {field.name for field in fields(Source)} <= {"identity", "namespace", "trust_domain", "cidrs"}


def test_the_generators_know_every_condition_of_the_language():
    """A new one is compared by every judge, or this fails."""
    assert set(CONDITIONS) == {field.name for field in fields(HttpMatch)}
