"""Audiences of one token in any order."""

from __future__ import annotations

from itertools import permutations

from ringfence.certs.jwt_svid import validate_jwt
from tests.certs.material import MINUTE, NOW, TD, TRAINER, new_authority


def test_the_order_of_audiences_is_kept_and_means_nothing() -> None:
    """Each of them accepts the token, wherever it stands."""
    authority, _ = new_authority()
    for audience in permutations(["db", "queue", "registry"]):
        token, _ = authority.issue_jwt(TRAINER, audience, now=NOW, ttl=MINUTE)
        for reader in audience:
            assert validate_jwt(token, reader, {TD: authority.bundle(1)}, now=NOW).audience == audience
