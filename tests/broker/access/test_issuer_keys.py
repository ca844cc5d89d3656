"""The keys of an issuer: kept, looked for when new, never often, and not believed when they are old."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from joserfc.jwk import KeySet

from ringfence.broker.access.issuer_keys import MAX_AGE, MIN_PAUSE, IssuerKeys, from_file
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.access.keys import EC, RSA, key_set


class Issuer:
    """Counts looks; may be away."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        self.keys = KeySet([RSA])
        self.away = False
        self.known = IssuerKeys(self.look, monotonic=lambda: self.now)

    async def look(self) -> KeySet:
        """What it publishes."""
        self.looks += 1
        await asyncio.sleep(0)
        if self.away:
            raise RingfenceError(Kind.UNAVAILABLE, "away")
        return self.keys

    async def has(self, kid: str) -> bool:
        """Whether the key is found."""
        found = await self.known.find(kid)
        return found is not None and any(key.kid == kid for key in found.keys)


async def test_a_known_key_costs_no_look() -> None:
    """However many ask at once."""
    issuer = Issuer()
    assert all(await asyncio.gather(*(issuer.has("rsa") for _ in range(20))))
    assert issuer.looks == 1


async def test_a_new_key_is_looked_for_and_a_made_up_one_not_often() -> None:
    """A rotation at the issuer is seen within 10 s; a flood of unknown ids makes no flood of looks."""
    issuer = Issuer()
    assert await issuer.has("rsa")
    issuer.keys = KeySet([EC])
    assert not await issuer.has("ec")  # too early
    issuer.now = MIN_PAUSE
    assert await issuer.has("ec")
    assert not await issuer.has("rsa")  # withdrawn
    for _ in range(100):
        assert not await issuer.has("made-up")
    assert issuer.looks == 2


async def test_while_the_issuer_is_away_fresh_keys_are_believed_and_old_ones_are_not() -> None:
    """A key that the issuer may have withdrawn long ago proves nothing."""
    issuer = Issuer()
    assert await issuer.has("rsa")
    issuer.away = True
    issuer.now = MAX_AGE - 1
    assert await issuer.has("rsa")
    issuer.now = MAX_AGE
    for _ in range(2):
        with pytest.raises(RingfenceError) as caught:
            await issuer.has("rsa")
        assert caught.value.kind is Kind.UNAVAILABLE
    assert issuer.looks == 2
    issuer.away, issuer.now = False, MAX_AGE + MIN_PAUSE
    assert await issuer.has("rsa")


async def test_keys_in_a_file_are_read_again_for_a_new_one(tmp_path: Path) -> None:
    """And an unreadable file is said as such."""
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(RSA))
    now = [0.0]
    keys = IssuerKeys(from_file(path), monotonic=lambda: now[0])
    assert await keys.find("rsa")
    path.write_bytes(key_set(RSA, EC))
    now[0] = MIN_PAUSE
    found = await keys.find("ec")
    assert found is not None
    assert [key.kid for key in found.keys] == ["rsa", "ec"]
    path.write_text("nonsense")
    now[0] = 2 * MIN_PAUSE
    with pytest.raises(RingfenceError, match="no JWK set"):
        await keys.find("new")
