"""An authority through its generations."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import LeafDraft
from ringfence.certs.rotation import Step
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid, verify_peer
from tests.certs.material import HOUR, MINUTE, NOW, OTHER_TD, TD, TRAINER, new_authority, new_key

_PUBLIC = new_key().public_key()


def test_an_svid_verifies_against_the_bundle() -> None:
    """The chain is the leaf alone, the root being in the bundle."""
    authority, _ = new_authority()
    chain = authority.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR, dns_names=["trainer.local"])
    assert len(chain) == 1
    assert verify_peer(chain, authority.bundle(1), now=NOW) == TRAINER
    assert parse_svid(chain).not_after == (NOW + HOUR).replace(microsecond=0)


def test_the_intent_is_recorded_before_the_signature() -> None:
    """When signing fails, the record already says what was meant."""
    authority, keys = new_authority()
    story: list[LeafDraft] = []
    keys.delete(authority.current.x509.key_id)
    with pytest.raises(RingfenceError) as caught:
        authority.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR, on_draft=story.append)
    assert caught.value.kind is Kind.NOT_FOUND
    assert [draft.spiffe_id for draft in story] == [TRAINER]


def test_nothing_is_signed_when_the_record_fails() -> None:
    """What the recorder raises ends the issuance."""

    class SilentKeys(MemoryKeys):
        signed = 0

        def sign(self, key_id: str, data: bytes) -> bytes:
            self.signed += 1
            return super().sign(key_id, data)

    def full(draft: LeafDraft) -> None:
        raise OSError(28, "No space left on device")

    keys = SilentKeys()
    authority = Authority.create(TD, keys, now=NOW)
    before = keys.signed
    with pytest.raises(OSError, match="No space"):
        authority.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR, on_draft=full)
    assert keys.signed == before


@pytest.mark.parametrize("spiffe_id", [SpiffeId(OTHER_TD, "/x"), SpiffeId(TD, "")])
def test_names_that_are_not_ours_to_give_are_not_recorded(spiffe_id: SpiffeId) -> None:
    """A draft is checked before it is written down, for X.509 and JWT alike."""
    authority, _ = new_authority()
    story: list[LeafDraft] = []
    with pytest.raises(RingfenceError):
        authority.issue_x509(spiffe_id, _PUBLIC, now=NOW, ttl=HOUR, on_draft=story.append)
    with pytest.raises(RingfenceError):
        authority.issue_jwt(spiffe_id, ["a"], now=NOW, ttl=MINUTE)
    assert story == []


def test_an_authority_past_its_end_says_so() -> None:
    """A clock that jumped is an outage with a hint, not a certificate that is already over."""
    authority, _ = new_authority()
    with pytest.raises(RingfenceError, match="ended at 2026-11-25T12:00:00Z") as caught:
        authority.issue_x509(TRAINER, _PUBLIC, now=NOW + 25 * HOUR, ttl=HOUR)
    assert caught.value.kind is Kind.UNAVAILABLE


def test_an_authority_before_its_begin_says_so() -> None:
    """A clock that was set back is an outage with a hint too."""
    authority, _ = new_authority()
    with pytest.raises(RingfenceError, match=r"begins at .* only") as caught:
        authority.issue_x509(TRAINER, _PUBLIC, now=NOW - HOUR, ttl=HOUR)
    assert caught.value.kind is Kind.UNAVAILABLE


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


def test_the_server_may_have_addresses() -> None:
    """The control plane's own SVID names what its clients dial."""
    authority, _ = new_authority()
    server = SpiffeId(TD, "/ringfence/server")
    chain = authority.issue_x509(
        server, _PUBLIC, now=NOW, ttl=HOUR, dns_names=["localhost"], ip_addresses=[ip_address("127.0.0.1")]
    )
    assert verify_peer(chain, authority.bundle(1), now=NOW) == server


def test_a_token_is_read_back_before_it_leaves() -> None:
    """A key manager that signs with another key hands out no token, and the caller is not the one to blame."""
    authority, keys = new_authority()
    keys.delete(authority.current.jwt.key_id)
    keys.generate(authority.current.jwt.key_id)
    with pytest.raises(RingfenceError, match="what was signed is no token") as caught:
        authority.issue_jwt(TRAINER, ["db"], now=NOW, ttl=MINUTE)
    assert caught.value.kind is Kind.INVALID


def test_a_token_is_cut_by_the_authoritys_end() -> None:
    """No token outlives the key that is published for it."""
    authority, _ = new_authority()
    _, ends = authority.issue_jwt(TRAINER, ["db"], now=NOW, ttl=48 * HOUR)
    assert ends == authority.current.x509.not_after


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
