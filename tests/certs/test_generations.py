"""An authority through its generations."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ringfence.certs.authority import Authority
from ringfence.certs.errors import RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.rotation import Step
from ringfence.certs.svid import parse_svid, verify_peer
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_authority, new_key

_PUBLIC = new_key().public_key()


def test_a_successor_that_ended_unused_is_made_anew() -> None:
    """A server that was off from prepare to long after the end must not be stuck with it."""
    authority, _ = new_authority()
    authority.prepare(NOW + 12 * HOUR)
    late = NOW + 1000 * HOUR
    assert authority.next_step(late) is Step.PREPARE
    authority.prepare(late)
    assert authority.next_step(late) is Step.ACTIVATE
    authority.activate(late)
    assert verify_peer(authority.issue_x509(TRAINER, _PUBLIC, now=late, ttl=HOUR), authority.bundle(2), now=late)


def test_a_rotation_shows_every_root_that_still_matters() -> None:
    """Prepared ones before use, retired ones until their last SVID has ended; the signing one comes first."""
    authority, keys = new_authority()
    first = authority.current
    authority.prepare(NOW + 12 * HOUR)
    second = authority.next
    assert second is not None
    assert authority.bundle(2).x509_authorities == (first.x509.der, second.x509.der)
    authority.activate(NOW + 20 * HOUR)
    assert authority.bundle(3).x509_authorities == (second.x509.der, first.x509.der)
    assert set(authority.bundle(3).jwt_authorities) == {first.jwt.kid, second.jwt.kid}
    authority.prune(NOW + 23 * HOUR)
    assert authority.bundle(4).x509_authorities == (second.x509.der, first.x509.der)
    # A retired token key is forgotten at once; a retired root has still to say which of its certificates are revoked.
    assert keys.key_ids() == second.key_ids | {first.x509.key_id}
    authority.prune(NOW + 24 * HOUR)
    assert keys.key_ids() == second.key_ids
    assert authority.bundle(5).x509_authorities == (second.x509.der,)


def test_steps_out_of_order_are_refused() -> None:
    """Nothing is activated that was not prepared, and nothing is prepared twice."""
    authority, _ = new_authority()
    with pytest.raises(RingfenceError, match="no next x509 authority"):
        authority.activate(NOW)
    authority.prepare(NOW)
    with pytest.raises(RingfenceError, match="prepared already"):
        authority.prepare(NOW)
    with pytest.raises(RingfenceError, match="no next x509 authority"):
        authority.activate(NOW + 25 * HOUR)


def test_pruning_leaves_keys_of_others_alone() -> None:
    """A key manager may hold more than this authority's keys."""
    authority, keys = new_authority()
    keys.generate("agent")
    keys.generate("x509-half-made")
    authority.prune(NOW)
    assert keys.key_ids() == authority.current.key_ids | {"agent"}


def test_a_restart_goes_on_where_it_was() -> None:
    """State is plain JSON, holds no private key, and gives back the same authority."""
    authority, keys = new_authority()
    authority.prepare(NOW)
    authority.activate(NOW)
    authority.prepare(NOW)
    authority.prune(NOW)
    text = json.dumps(authority.to_state())
    assert "PRIVATE" not in text
    again = Authority.from_state(json.loads(text), keys)
    assert again.bundle(9) == authority.bundle(9)
    assert again.ca_ttl == authority.ca_ttl
    chain = again.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR)
    assert verify_peer(chain, authority.bundle(9), now=NOW) == TRAINER


class AnyClock(RuleBasedStateMachine):
    """An authority whose clock goes forward by anything, and whose steps are taken when they are due."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.authority, self.keys = new_authority(now=NOW)
        self.svids: list[tuple[tuple[bytes, ...], str]] = []

    @rule(minutes=st.integers(1, 60 * 8))
    def time_passes(self, minutes: int) -> None:
        """Hours pass, then what is due is done, as the server's timer does it."""
        self.now += timedelta(minutes=minutes)
        while (step := self.authority.next_step(self.now)) is not Step.WAIT:
            {
                Step.PREPARE: self.authority.prepare,
                Step.ACTIVATE: self.authority.activate,
                Step.PRUNE: self.authority.prune,
            }[step](self.now)

    @rule()
    def restart(self) -> None:
        """The server restarts from its state."""
        self.authority = Authority.from_state(json.loads(json.dumps(self.authority.to_state())), self.keys)

    @rule()
    def issue(self) -> None:
        """Both kinds of SVID are issued."""
        chain = self.authority.issue_x509(TRAINER, _PUBLIC, now=self.now, ttl=HOUR)
        token, _ = self.authority.issue_jwt(TRAINER, ["db"], now=self.now, ttl=HOUR)
        self.svids.append((chain, token))

    @invariant()
    def every_live_svid_verifies(self) -> None:
        """No rotation leaves a gap: what has not ended verifies against today's bundle."""
        bundle = self.authority.bundle(1)
        for chain, token in self.svids:
            if self.now <= parse_svid(chain).not_after:
                assert verify_peer(chain, bundle, now=self.now) == TRAINER
                assert validate_jwt(token, "db", {TD: bundle}, now=self.now).spiffe_id == TRAINER


AnyClock.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyClock = AnyClock.TestCase
