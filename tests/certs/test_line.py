"""The steps of an authority's life, and every wrong order of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.line import Line
from ringfence.certs.rotation import Step
from ringfence.certs.svid import verify_peer
from ringfence.certs.wit_svid import issue_wit, validate_wit
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_authority, new_key

KINDS = ("x509", "jwt", "wit")
_PUBLIC = new_key().public_key()


def line_of(authority: Authority, kind: str) -> Line[Any]:
    """The line of *kind*."""
    line: Line[Any] = authority.line(kind)
    return line


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of authority lives the same life."""
    value: str = request.param
    return value


def refused(call: Callable[[], object], *words: str) -> None:
    """It is a conflict, in words."""
    with pytest.raises(RingfenceError) as caught:
        call()
    assert caught.value.kind is Kind.CONFLICT
    assert all(word in caught.value.detail for word in words), caught.value.detail
    assert caught.value.hint


def test_the_five_steps_in_their_order(kind: str) -> None:
    """Prepared, active, old, tainted, gone; the other kind stays where it was."""
    authority, _ = new_authority(wit=True)
    line = line_of(authority, kind)
    other = line_of(authority, "jwt" if kind == "x509" else "x509")
    first, untouched = line.current.id, other.every()
    assert line.state_of(first) == "active"
    authority.prepare(NOW, (kind,))
    second = line.next.id
    assert line.state_of(second) == "prepared"
    line.activate(NOW, second)
    assert (line.state_of(first), line.state_of(second)) == ("old", "active")
    line.taint(first)
    assert line.state_of(first) == "tainted"
    assert authority.tainted == {first}
    line.revoke(first)
    assert [one.id for one in line.every()] == [second]
    assert authority.tainted == frozenset()
    assert other.every() == untouched


def test_every_wrong_order_is_refused_in_words(kind: str) -> None:
    """Nothing changes by it."""
    authority, _ = new_authority(wit=True)
    line = line_of(authority, kind)
    first = line.current.id
    refused(lambda: line.activate(NOW), "no next")
    refused(lambda: line.activate(NOW, first), first, "is active", "only a prepared one can be activated")
    refused(lambda: line.taint(first), "is active", "only an old one can be tainted")
    refused(lambda: line.revoke(first), "is active", "only a tainted one can be revoked")
    refused(line.taint, f"no {kind} authorities are old")
    refused(line.revoke, f"no {kind} authorities are tainted")
    authority.prepare(NOW, (kind,))
    second = line.next.id
    refused(lambda: authority.prepare(NOW, (kind,)), "prepared already", second)
    refused(lambda: line.taint(second), "is prepared")
    refused(lambda: line.revoke(second), "is prepared")
    line.activate(NOW, second)
    refused(lambda: line.activate(NOW, first), "is old")
    refused(lambda: line.revoke(first), "is old")
    line.taint(first)
    refused(lambda: line.taint(first), "is tainted")
    refused(lambda: line.activate(NOW, first), "is tainted")
    assert [one.id for one in line.every()] == [second, first]


def test_a_prepared_one_that_ended_is_not_activated(kind: str) -> None:
    """By its name neither."""
    authority, _ = new_authority(wit=True)
    line = line_of(authority, kind)
    authority.prepare(NOW, (kind,))
    refused(lambda: line.activate(NOW + 25 * HOUR, line.next.id), "no next")


def test_unknown_names_are_not_found(kind: str) -> None:
    """With the command that lists them."""
    line = line_of(new_authority(wit=True)[0], kind)
    for step in (line.taint, line.revoke, lambda name: line.activate(NOW, name)):
        with pytest.raises(RingfenceError) as caught:
            step("ff00")
        assert caught.value.kind is Kind.NOT_FOUND
        assert f"ringfence authority {kind} show" in caught.value.hint


def test_the_name_may_be_left_out_where_only_one_can_be_meant(kind: str) -> None:
    """With two old ones it may not."""
    authority, _ = new_authority(wit=True)
    line = line_of(authority, kind)
    for _ in range(2):
        authority.prepare(NOW, (kind,))
        line.activate(NOW)
    refused(line.taint, "2", "are old", "name one")
    line.taint(line.old[0].id)
    assert line.taint() is line.old[1]
    refused(line.revoke, "2", "are tainted", "name one")


def test_a_revoked_authority_is_accepted_no_more(kind: str) -> None:
    """What a tainted one signed still verifies; what a revoked one signed does not, and its key is forgotten."""
    authority, keys = new_authority(wit=True)
    line = line_of(authority, kind)
    chain = authority.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR)
    token, _ = authority.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    wit, _ = issue_wit(authority, TRAINER, _PUBLIC, now=NOW, ttl=HOUR)

    def accepted() -> bool:
        bundle = authority.bundle(1)
        try:
            if kind == "x509":
                return verify_peer(chain, bundle, now=NOW) == TRAINER
            if kind == "wit":
                return validate_wit(wit, {TD: bundle}, now=NOW).spiffe_id == TRAINER
            return validate_jwt(token, "db", {TD: bundle}, now=NOW).spiffe_id == TRAINER
        except RingfenceError:
            return False

    old_key = line.current.key_id
    authority.prepare(NOW, (kind,))
    line.activate(NOW)
    line.taint()
    assert accepted()
    line.revoke()
    assert not accepted()
    authority.forget_keys()
    assert keys.key_ids() == {each.current.key_id for each in authority.lines}
    assert old_key not in keys.key_ids()


def test_a_step_of_one_kind_is_scheduled_alone(kind: str) -> None:
    """The other kinds go on by their own clock, and none waits for another."""
    authority, _ = new_authority(wit=True)
    soon = NOW + 2 * HOUR
    authority.prepare(soon, (kind,))
    line_of(authority, kind).activate(soon)
    others = tuple(other for other in KINDS if other != kind)
    assert authority.due(Step.PREPARE, NOW + 12 * HOUR) == others
    assert authority.due(Step.PREPARE, NOW + 14 * HOUR) == KINDS
    assert authority.next_step(NOW + 12 * HOUR) is Step.PREPARE


class AnyOrder(RuleBasedStateMachine):
    """Steps in any order, by an operator who makes mistakes, on a server that restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.authority, self.keys = new_authority(wit=True, now=NOW)
        self.now = NOW

    @rule(kind=st.sampled_from(KINDS), minutes=st.integers(0, 120))
    def prepare(self, kind: str, minutes: int) -> None:
        """A step that may be refused."""
        self.now += timedelta(minutes=minutes)
        self._try(lambda: self.authority.prepare(self.now, (kind,)))

    @rule(kind=st.sampled_from(KINDS), step=st.sampled_from(["activate", "taint", "revoke"]), pick=st.integers(0, 4))
    def step(self, kind: str, step: str, pick: int) -> None:
        """On any authority there is."""
        line = line_of(self.authority, kind)
        name = line.every()[pick % len(line.every())].id
        before = line.state_of(name)
        done = self._try(lambda: line.activate(self.now, name) if step == "activate" else getattr(line, step)(name))
        wanted = {"activate": "prepared", "taint": "old", "revoke": "tainted"}[step]
        assert not done or before == wanted

    @rule()
    def restart(self) -> None:
        """From the state, with the keys that were kept."""
        self.authority.forget_keys()
        self.authority = Authority.from_state(json.loads(json.dumps(self.authority.to_state())), self.keys)

    @precondition(lambda self: self.now < self.authority.x509.current.not_after)
    @invariant()
    def what_is_issued_verifies(self) -> None:
        """Whatever the order, the signing ones are published."""
        bundle = self.authority.bundle(1)
        if self.now < self.authority.jwt.current.not_after:
            token, _ = self.authority.issue_jwt(TRAINER, ["db"], now=self.now, ttl=HOUR)
            assert validate_jwt(token, "db", {TD: bundle}, now=self.now).spiffe_id == TRAINER
        if self.now < self.authority.wit_key().not_after:
            wit, _ = issue_wit(self.authority, TRAINER, _PUBLIC, now=self.now, ttl=HOUR)
            assert validate_wit(wit, {TD: bundle}, now=self.now).spiffe_id == TRAINER
        chain = self.authority.issue_x509(TRAINER, _PUBLIC, now=self.now, ttl=HOUR)
        assert verify_peer(chain, bundle, now=self.now) == TRAINER

    @invariant()
    def only_old_ones_are_tainted(self) -> None:
        """And each authority is in one place only."""
        for line in self.authority.lines:
            ids = [one.id for one in line.every()]
            assert len(ids) == len(set(ids))
            assert line.tainted <= {one.id for one in line.old}

    @staticmethod
    def _try(step: Callable[[], object]) -> bool:
        try:
            step()
        except RingfenceError:
            return False
        return True


AnyOrder.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
