"""What a server and its signers say is heard as it was meant."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.keys.choice import PKCS11, Unlocked
from ringfence.broker.signing import wire
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.material import HOUR, NOW, TD, new_authority, new_key

_AUTHORITY, _ = new_authority()


def test_a_draft_comes_through_whole() -> None:
    """Every field, addresses and names included."""
    draft = _AUTHORITY.draft_x509(
        SpiffeId(TD, "/ringfence/server"),
        new_key().public_key(),
        now=NOW,
        ttl=HOUR,
        dns_names=("ringfence-server", "localhost"),
        ip_addresses=(ip_address("127.0.0.1"), ip_address("::1")),
    )
    assert wire.hear_draft(wire.unframe(wire.frame({"d": wire.say_draft(draft)})[4:])["d"]) == draft


def test_keys_and_errors_come_through_whole() -> None:
    """What opens a key manager, a public key, and a refusal."""
    unlocked = Unlocked(PKCS11, Path("/data"), b"\x00\xffpin", Path("/lib/token.so"), "token", "owner")
    assert wire.hear_keys(wire.say_keys(unlocked)) == unlocked
    key = new_key().public_key()
    assert wire.hear_key(wire.say_key(key)) == key
    error = wire.hear_error(wire.say_error(RingfenceError(Kind.DENIED, "no", hint="ask")))
    assert (error.kind, error.detail, error.hint) == (Kind.DENIED, "no", "ask")


def test_what_opens_the_keys_is_not_in_their_repr() -> None:
    """A log line or a traceback with it tells nobody."""
    assert "horse" not in repr(Unlocked("disk", Path("/data"), b"horse"))


@given(st.binary(max_size=40))
def test_a_frame_that_is_no_message_is_an_error(body: bytes) -> None:
    """Whatever the bytes: an object, or ValueError."""
    try:
        assert isinstance(wire.unframe(body), dict)
    except ValueError:
        return


def test_an_array_is_no_message() -> None:
    """A message has names."""
    with pytest.raises(ValueError, match="object"):
        wire.unframe(b"[]")
