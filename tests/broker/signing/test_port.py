"""Signing in this process."""

from __future__ import annotations

from dataclasses import replace

from ringfence.broker.signing.port import Here
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from tests.certs.material import HOUR, NOW, TRAINER, new_authority, new_key


async def test_answers_stand_in_the_order_asked_and_one_refusal_spoils_no_other() -> None:
    """Between two good requests a bad one gets its own words, and the others their keys."""
    keys = [new_key(), new_key()]
    first, bad, last = await Here().keys([new_csr(keys[0]), b"garbage", new_csr(keys[1])])
    assert [first, last] == [key.public_key() for key in keys]
    assert isinstance(bad, RingfenceError)
    assert bad.kind is Kind.INVALID


async def test_a_draft_that_must_not_be_signed_is_refused_alone() -> None:
    """A draft that `check_draft` refuses comes back as DENIED; the one beside it is signed."""
    authority, _ = new_authority()
    good = authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    posing = replace(good, dns_names=("ringfence-server",))
    signed, refused = await Here().sign(authority.current.x509, [good, posing])
    assert isinstance(signed, bytes)
    assert isinstance(refused, RingfenceError)
    assert refused.kind is Kind.DENIED
