"""What an authority issues, and what it does not."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import LeafDraft
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
