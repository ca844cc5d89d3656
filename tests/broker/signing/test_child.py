"""A signer's work, without its process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.keys.choice import DISK, MEMORY, Unlocked
from ringfence.broker.signing import wire
from ringfence.broker.signing.child import Work
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, new_csr
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.material import HOUR, NOW, OTHER_TD, TD, TRAINER, new_authority, new_key


def asked(authority: Authority, *drafts: LeafDraft) -> dict[str, Any]:
    """What a server asks for *drafts*."""
    root = authority.x509.current
    said = [wire.say_draft(draft) for draft in drafts]
    return {"authority": wire.binary(root.der), "key_id": root.key_id, "drafts": said}


@pytest.fixture
def unlocked(tmp_path: Path) -> Unlocked:
    """Keys on disk."""
    return Unlocked(DISK, tmp_path / "keys")


def test_a_draft_that_breaks_a_rule_is_not_signed(unlocked: Unlocked) -> None:
    """Another trust domain's name, the control plane's own host name: `check_draft` speaks here too."""
    authority = Authority.create(TD, unlocked.open(), now=NOW)
    good = authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    foreign = replace(good, spiffe_id=SpiffeId(OTHER_TD, "/ns/a/sa/b"))
    posing = replace(good, dns_names=("ringfence-server",))
    first, second, third = Work(TD, unlocked).answer(asked(authority, foreign, posing, good))["answers"]
    assert (first["kind"], second["kind"]) == (Kind.DENIED.value, Kind.DENIED.value)
    authority.x509.current.check_content(wire.unbinary(third), good)


def test_a_request_without_its_key_is_refused_alone(unlocked: Unlocked) -> None:
    """The proof of possession is verified here, request by request."""
    unlocked.open()
    key = new_key()
    stolen = bytearray(new_csr(key))
    stolen[-1] ^= 1
    message = {"requests": [wire.binary(bytes(stolen)), wire.binary(new_csr(key))]}
    refused, proven = Work(TD, unlocked).answer(message)["answers"]
    assert refused["kind"] == Kind.INVALID.value
    (unread,) = Work(TD, unlocked).answer({"requests": ["no base64"]})["answers"]
    assert unread["kind"] == Kind.INVALID.value
    assert wire.hear_key(proven) == key.public_key()


def test_a_key_that_came_later_is_found(unlocked: Unlocked) -> None:
    """After a rotation the authority that comes with the batch names a key that was not there at the start."""
    authority = Authority.create(TD, unlocked.open(), now=NOW)
    work = Work(TD, unlocked)
    for _ in range(3):
        draft = authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
        (answer,) = work.answer(asked(authority, draft))["answers"]
        authority.x509.current.check_content(wire.unbinary(answer), draft)
        authority.prepare(NOW)
        authority.activate(NOW)


def test_an_authority_whose_key_it_has_not_is_no_work_of_its(unlocked: Unlocked) -> None:
    """The batch fails as a whole, to be done where the key is; nor does it do anything else it is asked."""
    unlocked.open()
    stranger, _ = new_authority()
    draft = stranger.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
    work = Work(TD, unlocked)
    (answer,) = work.answer(asked(stranger, draft))["answers"]
    assert answer["kind"] == Kind.NOT_FOUND.value
    assert work.answer({"delete": "everything"})["failed"]["kind"] == Kind.UNIMPLEMENTED.value


def test_keys_in_memory_are_refused(tmp_path: Path) -> None:
    """Nobody but their own process has them."""
    with pytest.raises(RingfenceError, match="memory"):
        Work(TD, Unlocked(MEMORY, tmp_path))


def test_a_signer_changes_nothing_on_disk(tmp_path: Path) -> None:
    """A key that the server is just writing stays, and so does one from before there was a passphrase."""
    Unlocked(DISK, tmp_path / "keys").open().generate("x509-old")
    (tmp_path / "keys" / ".unfinished-x").write_bytes(b"half a key")
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    Work(TD, Unlocked(DISK, tmp_path / "keys", b"a passphrase of today"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before
