"""A partner's bundle that has not been fetched for longer than what is in it lives."""

from __future__ import annotations

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from tests.certs.material import HOUR, MINUTE, NOW, OTHER_TD, new_authority, new_key

PARTNER = SpiffeId(OTHER_TD, "/ns/a/sa/w")


def test_a_foreign_bundle_whose_authorities_have_ended_vouches_for_nobody() -> None:
    """It is still held, and neither certificates nor tokens of the partner are believed by it any more."""
    authority, _ = new_authority(OTHER_TD)
    held, later = authority.bundle(1), NOW + 25 * HOUR
    chain = authority.issue_x509(PARTNER, new_key().public_key(), now=NOW, ttl=48 * HOUR)
    token, _ = authority.issue_jwt(PARTNER, ["db"], now=NOW, ttl=48 * HOUR)
    assert verify_peer(chain, held, now=NOW + 23 * HOUR) == PARTNER
    with pytest.raises(RingfenceError, match="not valid at validation time"):
        verify_peer(chain, held, now=later)
    with pytest.raises(RingfenceError, match="has expired"):
        validate_jwt(token, "db", {OTHER_TD: held}, now=later)


def test_what_the_partner_signs_anew_is_a_strangers_until_its_bundle_is_fetched() -> None:
    """Its new authority is in no bundle here: an old bundle never lets in more than it says."""
    old, _ = new_authority(OTHER_TD)
    new, _ = new_authority(OTHER_TD, now=NOW + 25 * HOUR)
    chain = new.issue_x509(PARTNER, new_key().public_key(), now=NOW + 25 * HOUR + MINUTE, ttl=HOUR)
    with pytest.raises(RingfenceError):
        verify_peer(chain, old.bundle(1), now=NOW + 25 * HOUR + 2 * MINUTE)
