"""The ledger read as an inventory."""

from __future__ import annotations

import random
import string

import pytest

from ringfence.broker.store import inventory, ledger, revocations
from ringfence.broker.store.engine import Store
from ringfence.broker.store.inventory import Wanted
from ringfence.broker.store.ledger import Issuance, Refusal
from ringfence.certs.revocation import RevokedIdentity, RevokedSerial

NOW = 1_000
A, B = "spiffe://example.org/a", "spiffe://example.org/b"


async def issue(store: Store, serial: str, *, at: int = NOW, end: int = NOW + 60, **fields: str) -> None:
    """One document, issued at that time."""
    given = {"kind": "x509", "spiffe_id": A, "entry_id": "e1", "agent_id": "n1", "authority": "k"} | fields
    item = Issuance(serial, not_after=end, **given)
    await store.run(ledger.intend, [item], at)
    await store.run(ledger.issued, [serial])


async def serials(store: Store, **wanted: object) -> list[str]:
    """Those found."""
    return [each.serial for each in await store.run(inventory.page, Wanted(**wanted), NOW)]  # type: ignore[arg-type]


async def test_documents_are_found_by_what_they_are_and_how_they_stand(store: Store) -> None:
    """Those that end first, first."""
    await issue(store, "later", end=NOW + 600)
    await issue(store, "soon", end=NOW + 60, spiffe_id=B, agent_id="n2")
    await issue(store, "ended", at=10, end=NOW)
    await store.run(ledger.intend, [Issuance("open", "x509", A, "e1", "n1", "k", NOW + 5)], NOW)
    await store.run(ledger.refuse, [Refusal("x509", A, "e1", "n3", "denied", "why")], NOW)
    assert (await serials(store))[-2:] == ["soon", "later"]
    assert await serials(store, state="live") == ["soon", "later"]
    assert await serials(store, state="ended") == ["ended"]
    assert await serials(store, state="unfinished") == ["open"]
    assert len(await serials(store, state="refused")) == 1
    assert await serials(store, expiring=60) == ["soon"]
    assert await serials(store, spiffe_id=B) == ["soon"]
    assert await serials(store, node="n2") == ["soon"]
    assert await serials(store, serial="later", state="ended") == []


async def test_what_is_revoked_is_a_state_with_the_reason(store: Store) -> None:
    """By its own serial or with its identity, tokens too; what has ended has ended."""
    await issue(store, "mine", end=NOW + 60)
    await issue(store, "burnt", end=NOW + 61)
    await issue(store, "whole", end=NOW + 62, spiffe_id=B)
    await issue(store, "token", end=NOW + 63, spiffe_id=B, kind="jwt")
    await issue(store, "ended", at=10, end=NOW, spiffe_id=B)
    one = RevokedSerial("burnt", A, "k", "n1", NOW + 61, NOW, "keyCompromise", "in a log")
    await store.run(revocations.revoke, [one], [RevokedIdentity(B, NOW, "leaver", "uid:0")])
    assert await serials(store, state="live") == ["mine"]
    assert await serials(store, state="revoked") == ["burnt", "whole", "token"]
    assert await serials(store, state="ended") == ["ended"]
    assert await serials(store, expiring=600) == ["mine"]
    found = {each.serial: (each.state, each.reason) for each in await store.run(inventory.page, Wanted(), NOW)}
    assert found["burnt"] == ("revoked", "in a log")
    assert found["whole"] == found["token"] == ("revoked", "leaver")
    assert found["mine"] == ("live", "")
    assert found["ended"] == ("ended", "")


async def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    """Also where many end in the same second."""
    for number in range(7):
        await issue(store, f"s{number}", end=NOW + number // 3)
    seen: list[str] = []
    after = None
    while page := await store.run(inventory.page, Wanted(after=after), NOW, limit=2):
        seen += [each.serial for each in page]
        after = (page[-1].not_after, page[-1].serial)
    assert seen == [f"s{number}" for number in range(7)]


async def test_a_renewal_knows_what_it_renews(store: Store) -> None:
    """The X509-SVID before it for the same entry on the same node, and no other."""
    await issue(store, "first", at=100)
    await issue(store, "second", at=200)
    await issue(store, "third", at=300)
    await issue(store, "elsewhere", at=150, agent_id="n2")
    await issue(store, "other", at=150, entry_id="e2")
    await issue(store, "token", at=250, kind="jwt")
    await store.run(ledger.intend, [Issuance("open", "x509", A, "e1", "n1", "k", NOW + 5)], 250)
    found = {each.serial: (each.renews, each.renewed_by) for each in await store.run(inventory.page, Wanted(), NOW)}
    assert found["first"] == ("", "second")
    assert found["second"] == ("first", "third")
    assert found["third"] == ("second", "")
    assert found["elsewhere"] == found["other"] == ("", "")
    assert found["token"][1] == ""


async def test_refusing_the_same_again_is_kept_once_and_newest(store: Store) -> None:
    """So that an agent that asks for ever fills no disk; another reason, node or entry is another one."""
    first = Refusal("x509", A, "e1", "n1", "denied", "why")
    again = Refusal("x509", A, "e1", "n1", "denied", "x" * 1000)
    await store.run(ledger.refuse, [first], 10)
    await store.run(ledger.refuse, [again, Refusal("x509", A, "e1", "n1", "invalid", "bad")], 20)
    found = await store.run(inventory.page, Wanted(state="refused"), NOW)
    assert sorted((each.recorded_at, len(each.reason)) for each in found) == [(20, 3), (20, 256)]


async def test_the_newest_document_of_an_entry_is_found(store: Store) -> None:
    """Or that there is none."""
    await issue(store, "old", at=10)
    await issue(store, "new", at=20, agent_id="n2")
    newest = await store.run(inventory.newest, A, "e1", NOW)
    assert newest is not None
    assert newest.serial == "new"
    assert await store.run(inventory.newest, A, "none", NOW) is None


@pytest.mark.parametrize("ended", [0, 1, 499, 500, 501])
async def test_what_ended_is_forgotten_in_small_batches(store: Store, ended: int) -> None:
    """No transaction takes more than one batch, so issuing never waits long."""
    items = [Issuance(f"s{n}", "x509", A, "e1", "n1", "k", 10) for n in range(ended)]
    items.append(Issuance("live", "x509", A, "e1", "n1", "k", NOW))
    await store.run(ledger.intend, items, 1)
    assert await store.run(ledger.prune, 11) == min(ended, ledger.BATCH)
    await store.run(ledger.prune, 11)
    assert await serials(store) == ["live"]


async def test_the_longest_names_are_kept(store: Store) -> None:
    """Random ones, which no database can pack: 2,048 bytes each (SPIFFE-ID, section 2.3)."""
    draw = random.Random(1)  # noqa: S311  # no secret
    long = [f"spiffe://example.org/{''.join(draw.choices(string.ascii_letters, k=2027))}" for _ in range(2)]
    await issue(store, "long", spiffe_id=long[0], agent_id=long[1])
    assert await serials(store, spiffe_id=long[0], node=long[1]) == ["long"]
