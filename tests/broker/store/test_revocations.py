"""Revocations on disk: what is found to be revoked, what is kept, and when it is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringfence.broker.store import changes, ledger, revocations
from ringfence.broker.store.engine import Store
from ringfence.broker.store.ledger import Issuance
from ringfence.certs.crl import sign_crl
from ringfence.certs.revocation import RevokedIdentity, RevokedSerial
from tests.certs.material import new_authority

NOW = 1_000
TRAINER, REGISTRY = "spiffe://example.org/ns/a/sa/trainer", "spiffe://example.org/ns/a/sa/registry"
NODE, OTHER = "spiffe://example.org/ringfence/agent/x509pop/one", "spiffe://example.org/ringfence/agent/x509pop/two"


def document(
    serial: str, spiffe_id: str = TRAINER, node: str = NODE, *, kind: str = "x509", ends: int = 2_000
) -> Issuance:
    """A document as the ledger has it."""
    return Issuance(serial, kind, spiffe_id, "e", node, "root", ends)


def revoked(serial: str, *, ends: int = 2_000) -> RevokedSerial:
    """A revocation of such a document."""
    return RevokedSerial(serial, TRAINER, "root", NODE, ends, NOW, "keyCompromise", "leaked")


async def serials(store: Store, **wanted: str) -> list[str]:
    """Those of the documents found."""
    return [one.serial for one in await store.run(revocations.documents, NOW, **wanted)]


async def test_what_may_be_revoked_is_what_peers_would_still_believe(store: Store) -> None:
    """Certificates that have not ended, also those that a crash left unfinished; no token, and none twice."""
    await store.run(ledger.intend, [document("a"), document("b", node=OTHER), document("c", REGISTRY)], NOW)
    await store.run(ledger.intend, [document("old", ends=NOW), document("jwt", kind="jwt")], NOW)
    await store.run(ledger.issued, ["a", "b", "old", "jwt"])
    assert await serials(store, spiffe_id=TRAINER) == ["a", "b"]
    assert await serials(store, node=NODE) == ["a", "c"]
    assert await serials(store, serial="c") == ["c"]
    await store.run(revocations.revoke, [revoked("a")])
    assert await serials(store, spiffe_id=TRAINER) == ["b"]


async def test_what_is_revoked_is_kept_and_told(store: Store) -> None:
    """All of it comes back as it was, and each act is one step of the change feed."""
    one, whole = revoked("a"), RevokedIdentity(REGISTRY, NOW, "leaver", "uid:0", 5_000)
    before = await store.run(changes.current)
    await store.run(revocations.revoke, [one], [whole])
    held = await store.run(revocations.every)
    assert held.revocations.serials == {"a": one}
    assert held.revocations.identities == {REGISTRY: whole}
    assert await store.run(changes.current) == before + 1


async def test_an_identity_revoked_again_has_the_newer_words(store: Store) -> None:
    """And it is one row: lifting it once is enough."""
    await store.run(revocations.revoke, [], [RevokedIdentity(TRAINER, NOW, "first", "a")])
    await store.run(revocations.revoke, [], [RevokedIdentity(TRAINER, NOW + 1, "second", "b")])
    held = await store.run(revocations.every)
    assert held.revocations.identities[TRAINER].reason == "second"
    assert await store.run(revocations.lift, [TRAINER, REGISTRY]) == [TRAINER]
    assert await store.run(revocations.lift, [TRAINER]) == []
    assert not (await store.run(revocations.every)).revocations


async def test_nothing_is_told_where_nothing_was_done(store: Store) -> None:
    """The feed does not grow, so that nobody is woken in vain."""
    before = await store.run(changes.current)
    await store.run(revocations.revoke, [])
    await store.run(revocations.lift, [TRAINER])
    assert not await store.run(revocations.forget, NOW)
    assert await store.run(changes.current) == before


async def test_what_has_ended_is_forgotten_with_the_list_of_it(store: Store) -> None:
    """A serial at its end; the list of an authority once it has nothing to say; an identity never by time alone."""
    authority, _ = new_authority()
    root = authority.current.x509
    lasting = RevokedSerial("a" * 32, TRAINER, root.subject_key_id, NODE, 3_000, NOW, "superseded", "")
    crl = sign_crl(root, [lasting], number=1, now=datetime.fromtimestamp(NOW, UTC))
    await store.run(revocations.revoke, [lasting, revoked("b")], [RevokedIdentity(TRAINER, NOW, "", "")])
    await store.run(revocations.put_crls, [crl])
    assert await store.run(revocations.forget, 2_000)
    held = await store.run(revocations.every)
    assert held.revocations.serials == {lasting.serial: lasting}
    assert held.crls == {root.subject_key_id: crl}
    assert await store.run(revocations.forget, 3_000)
    held = await store.run(revocations.every)
    assert not held.revocations.serials
    assert held.crls == {}
    assert TRAINER in held.revocations.identities


@pytest.mark.parametrize("number", [2, 2**40])
async def test_a_newer_list_takes_the_place_of_the_older(store: Store, number: int) -> None:
    """One an authority, with the number that it says itself."""
    authority, _ = new_authority()
    root, now = authority.current.x509, datetime.fromtimestamp(NOW, UTC)
    one = RevokedSerial("a" * 32, TRAINER, root.subject_key_id, NODE, 3_000, NOW, "superseded", "")
    await store.run(revocations.revoke, [one])
    await store.run(revocations.put_crls, [sign_crl(root, [], number=1, now=now)])
    await store.run(revocations.put_crls, [sign_crl(root, [one], number=number, now=now)])
    (kept,) = (await store.run(revocations.every)).crls.values()
    assert (kept.number, kept.serials) == (number, frozenset({one.serial}))
