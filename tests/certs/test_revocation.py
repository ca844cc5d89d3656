"""What counts as revoked, and when it may be forgotten."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial, serial_of
from ringfence.certs.spiffe_id import SpiffeId

TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
ONE = RevokedSerial(serial_of(0xAB), TRAINER, "aa", "spiffe://example.org/node", 100, 50, "keyCompromise", "leaked")
WHOLE = RevokedIdentity(TRAINER, 50, "leaver", "root")


def test_nothing_is_revoked_at_first() -> None:
    """An empty value is false and refuses nobody."""
    assert not Revocations()
    assert not Revocations().is_revoked(TRAINER, 1)


def test_a_serial_is_revoked_however_it_is_written() -> None:
    """By number or in the ledger's spelling, and no other serial of that identity with it."""
    revoked = Revocations.of([ONE])
    assert revoked
    assert revoked.is_revoked(TRAINER, 0xAB)
    assert revoked.is_revoked(TRAINER, ONE.serial)
    assert not revoked.is_revoked(TRAINER, 0xAC)
    assert not revoked.is_revoked(TRAINER)


def test_an_identity_is_revoked_with_every_serial() -> None:
    """Whatever its documents are numbered; its neighbour is not."""
    revoked = Revocations.of(identities=[WHOLE])
    assert revoked.is_revoked(SpiffeId.parse(TRAINER), 1)
    assert revoked.is_revoked(TRAINER)
    assert revoked.identity(TRAINER) is WHOLE
    assert not revoked.is_revoked(TRAINER + "2", 1)
    assert revoked.identity(TRAINER + "2") is None


def test_what_has_ended_is_forgotten_and_what_waits_for_an_operator_is_not() -> None:
    """A serial at its certificate's end, an identity at its time only."""
    timed = replace(WHOLE, spiffe_id=TRAINER + "2", until=100)
    revoked = Revocations.of([ONE], [WHOLE, timed])
    assert revoked.ended(99) == ((), ())
    assert revoked.ended(100) == ((ONE,), (timed,))


def test_the_value_cannot_be_changed() -> None:
    """Neither its fields nor what they map."""
    revoked = Revocations.of([ONE], [WHOLE])
    with pytest.raises(TypeError):
        del revoked.serials[ONE.serial]  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        revoked.identities = {}  # type: ignore[misc]
