"""JWT-SVID.md: our tokens through a client that is not ours, and its judgement of our bundle."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from spiffe import JwtBundle, JwtSvid
from spiffe import TrustDomain as TheirTrustDomain
from spiffe.svid.errors import JwtSvidError

from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_TD = TrustDomain("example.org")
_NOW = datetime.now(UTC)
_AUTHORITY = Authority.create(_TD, MemoryKeys(), now=_NOW)
_TRAINER = SpiffeId(_TD, "/ns/team-a/sa/trainer")
_TOKEN, _ = _AUTHORITY.issue_jwt(_TRAINER, ["db"], now=_NOW, ttl=timedelta(minutes=5))


def test_1_3_10_the_spiffe_package_accepts_token_and_bundle() -> None:
    """Parsed, verified and read by py-spiffe, with the JWT bundle that the Workload API carries."""
    bundle = JwtBundle.parse(TheirTrustDomain("example.org"), _AUTHORITY.bundle(1).jwks())
    svid = JwtSvid.parse_and_validate(_TOKEN, bundle, {"db"})
    assert str(svid.spiffe_id) == str(_TRAINER)


def test_1_3_7_the_spiffe_package_refuses_what_we_refuse() -> None:
    """Another audience, and another authority's bundle."""
    theirs = TheirTrustDomain("example.org")
    with pytest.raises(JwtSvidError):
        JwtSvid.parse_and_validate(_TOKEN, JwtBundle.parse(theirs, _AUTHORITY.bundle(1).jwks()), {"registry"})
    other = Authority.create(_TD, MemoryKeys(), now=_NOW)
    with pytest.raises(Exception, match=r"(?i)authority|key|found"):
        JwtSvid.parse_and_validate(_TOKEN, JwtBundle.parse(theirs, other.bundle(1).jwks()), {"db"})


def test_1_3_1_a_plain_jose_library_verifies_it() -> None:
    """Our tokens are ordinary JWTs; only the `use` of their keys is SPIFFE's own."""
    keys = json.loads(_AUTHORITY.bundle(1).jwks())["keys"]
    plain = [{name: value for name, value in jwk.items() if name != "use"} for jwk in keys]
    assert jwt.decode(_TOKEN, KeySet.import_key_set({"keys": plain}), algorithms=["ES256"]).claims["sub"] == str(
        _TRAINER
    )
