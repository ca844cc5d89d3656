"""What an agent keeps of revocations."""

from __future__ import annotations

import hashlib

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.revoked import Revoked
from ringfence.certs.errors import RingfenceError
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId

TRAINER = "spiffe://example.org/ns/a/sa/trainer"


def test_what_was_sent_is_what_is_kept() -> None:
    """Identities with why, serials as numbers, lists as they are, and the digest that the server compares with."""
    one = agent_pb2.RevokedIdentity(spiffe_id=TRAINER, reason="lost")
    sent = agent_pb2.Revoked(identities=[one], serials=[serial_of(7)], crls=[b"crl"]).SerializeToString()
    held = Revoked.parse(sent)
    assert held.identities == {TRAINER: "lost"}
    assert held.serials == {7}
    assert held.crls == (b"crl",)
    assert held.digest == hashlib.sha256(sent).digest()
    assert held.is_identity(SpiffeId.parse(TRAINER))
    assert not held.is_identity(SpiffeId.parse(TRAINER + "2"))


def test_nothing_revoked_is_nothing_kept() -> None:
    """And says so by an empty digest."""
    assert Revoked.parse(b"") == Revoked()
    assert Revoked().digest == b""
    assert not Revoked().is_identity(SpiffeId.parse(TRAINER))


def test_nonsense_is_not_taken_for_nothing() -> None:
    """Whoever reads it hears that it is damaged."""
    for damaged in (b"\xff\xff", agent_pb2.Revoked(serials=["no number"]).SerializeToString()):
        with pytest.raises(RingfenceError):
            Revoked.parse(damaged)
