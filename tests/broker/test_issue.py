"""Issuing, step by step, and what is left when a step fails."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.entry import Entry, any_node
from ringfence.broker.issue import MAX_BATCH, Wanted
from ringfence.broker.store import entries, inventory, ledger
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import new_csr
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid
from ringfence.certs.wit_svid import validate_wit
from tests.broker.world import AGENT, TD, World, let_write, world

OTHER = SpiffeId(TD, "/ringfence/agent/join_token/two")


class BrittleKeys(MemoryKeys):
    """Keys whose hardware fails when told to."""

    broken = False

    def sign(self, key_id: str, data: bytes) -> bytes:
        """A signature, or UNAVAILABLE."""
        if self.broken:
            raise RingfenceError(Kind.UNAVAILABLE, "the key manager does not answer")
        return super().sign(key_id, data)


def key() -> ec.EllipticCurvePrivateKey:
    """A workload's key."""
    return ec.generate_private_key(ec.SECP256R1())


def csr() -> bytes:
    """A request."""
    return new_csr(key())


async def test_a_leaf_says_what_the_entry_says_for_the_requests_key(tmp_path: Path) -> None:
    """Identity, DNS names and life come from the entry, the public key from the request, nothing else."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry(x509_ttl=600, dns_names=("trainer.example",))
        mine = key()
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, new_csr(mine))])
        assert answer.refused is None
        svid = parse_svid(answer.chain)
        leaf = x509.load_der_x509_certificate(answer.chain[0])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert svid.spiffe_id == entry.spiffe_id
        assert names.get_values_for_type(x509.DNSName) == ["trainer.example"]
        assert leaf.public_key() == mine.public_key()
        assert svid.not_after == w.clock() + timedelta(seconds=600)
        assert await w.store.run(ledger.states) == {f"{leaf.serial_number:032x}": ledger.ISSUED}


async def test_an_entry_of_another_agent_is_denied_like_one_that_is_not_there(tmp_path: Path) -> None:
    """And nothing is recorded or signed for it."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry(parent_id=OTHER)
        answers = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr()), Wanted("none", csr())])
        kinds = [(a.refused.kind, a.chain) for a in answers if a.refused]
        assert kinds == [(Kind.DENIED, ()), (Kind.DENIED, ())]
        assert await w.store.run(ledger.states) == {}
        with pytest.raises(RingfenceError) as caught:
            await w.issuer.jwt_svid(AGENT, entry.id, ["a"])
        assert caught.value.kind is Kind.DENIED


async def test_a_deleted_entry_is_not_issued_any_more(tmp_path: Path) -> None:
    """Entitlement is looked up at every request."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry()
        await w.store.run(entries.remove, [entry.id])
        await w.feed.catch_up()
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        assert answer.refused is not None


async def test_one_bad_request_does_not_spoil_a_batch(tmp_path: Path) -> None:
    """Answers come in the order asked, each with its own outcome."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry()
        wanted = [Wanted(entry.id, csr()), Wanted(entry.id, b"bad"), Wanted(entry.id, csr())]
        answers = await w.issuer.workload_svids(AGENT, wanted)
        assert [answer.refused is None for answer in answers] == [True, False, True]
        assert len(await w.store.run(ledger.states)) == 2


async def test_a_batch_has_a_limit(tmp_path: Path) -> None:
    """More is refused whole."""
    async with world(tmp_path, MemoryKeys()) as w:
        with pytest.raises(RingfenceError, match="at most 500"):
            await w.issuer.workload_svids(AGENT, [Wanted("x", b"")] * (MAX_BATCH + 1))


async def test_a_signature_that_fails_leaves_its_intent_open(tmp_path: Path) -> None:
    """The ledger tells that something was about to be signed and never was delivered."""
    keys = BrittleKeys()
    async with world(tmp_path, keys) as w:
        entry = await w.entry()
        keys.broken = True
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        assert answer.refused is not None
        assert len(await w.store.run(ledger.unfinished)) == 1
        with pytest.raises(RingfenceError):
            await w.issuer.jwt_svid(AGENT, entry.id, ["a"])
        assert len(await w.store.run(ledger.unfinished)) == 2


async def test_nothing_is_signed_when_the_intent_cannot_be_recorded(tmp_path: Path) -> None:
    """The record comes first, so a store that fails means no signature at all."""
    keys = BrittleKeys()
    async with world(tmp_path, keys) as w:
        entry = await w.entry()
        await let_write(w.store, allowed=False)
        keys.broken = True  # would answer "does not answer", were it asked
        with pytest.raises(RingfenceError, match="may not be written"):
            await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        with pytest.raises(RingfenceError, match="may not be written"):
            await w.issuer.jwt_svid(AGENT, entry.id, ["a"])


async def test_a_long_batch_lets_others_run(tmp_path: Path) -> None:
    """Between slices of signatures the loop serves other streams."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry, request = await w.entry(), csr()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(count())
        await w.issuer.workload_svids(AGENT, [Wanted(entry.id, request)] * 64)
        other.cancel()
        assert turns > 4


async def test_a_jwt_needs_an_audience(tmp_path: Path) -> None:
    """None, and an empty one, are refused."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry(jwt_ttl=60)
        token, ends = await w.issuer.jwt_svid(AGENT, entry.id, ["registry"])
        assert token.count(".") == 2
        assert ends == w.clock() + timedelta(seconds=60)
        for audience in ([], [""]):
            with pytest.raises(RingfenceError, match="audience"):
                await w.issuer.jwt_svid(AGENT, entry.id, audience)


async def test_nothing_outlives_its_entry(tmp_path: Path) -> None:
    """SVIDs and tokens end with it at the latest, and from its end on there are none."""
    async with world(tmp_path, MemoryKeys()) as w:
        end = w.clock() + timedelta(seconds=90)
        entry = await w.entry(expires_at=int(end.timestamp()))
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        assert parse_svid(answer.chain).not_after == end
        assert (await w.issuer.jwt_svid(AGENT, entry.id, ["a"]))[1] == end
        w.clock.turn(seconds=90)
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(entry.id, csr())])
        assert answer.refused is not None
        assert answer.refused.kind is Kind.DENIED
        with pytest.raises(RingfenceError, match="ended"):
            await w.issuer.jwt_svid(AGENT, entry.id, ["a"])


async def rule(w: World) -> Entry:
    """One registration for every service account."""
    wanted = Entry("", SpiffeId(TD, ""), any_node(TD), (), template="/ns/{k8s.ns}/sa/{k8s.sa}")
    [(made, _)] = await w.store.run(entries.create, [wanted], 1)
    await w.feed.catch_up()
    return made


async def test_an_instance_of_a_rule_is_issued_under_the_name_it_was_asked_by(tmp_path: Path) -> None:
    """The ledger has the rule's id."""
    async with world(tmp_path, MemoryKeys()) as w:
        asked = f"{(await rule(w)).id}#/ns/ml/sa/trainer"
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(asked, csr())])
        assert answer.entry_id == asked
        assert str(parse_svid(answer.chain).spiffe_id) == "spiffe://example.org/ns/ml/sa/trainer"
        token, _ = await w.issuer.jwt_svid(AGENT, asked, ["a"])
        assert token


@pytest.mark.parametrize(
    "path", ["", "#", "#/", "#/ns/ml", "#/ns/ml/sa/a/b", "#/ns/../sa/a", "#/ns/ml/sa/a#", "#/ringfence/server"]
)
async def test_what_a_rule_does_not_make_is_refused(tmp_path: Path, path: str) -> None:
    """Whatever the agent says that it found: no instance, no SVID and no token; nothing is on record."""
    async with world(tmp_path, MemoryKeys()) as w:
        asked = f"{(await rule(w)).id}{path}"
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(asked, csr())])
        assert answer.refused is not None
        assert answer.refused.kind is Kind.DENIED
        with pytest.raises(RingfenceError) as caught:
            await w.issuer.jwt_svid(AGENT, asked, ["a"])
        assert caught.value.kind is Kind.DENIED
        assert await w.store.run(ledger.states) == {}


async def test_a_path_behind_an_entry_that_is_no_rule_is_refused(tmp_path: Path) -> None:
    """Even its own."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry()
        [answer] = await w.issuer.workload_svids(AGENT, [Wanted(f"{entry.id}#{entry.spiffe_id.path}", csr())])
        assert answer.refused is not None
        assert answer.refused.kind is Kind.DENIED


async def test_a_jwt_carries_its_ledger_number_if_the_entry_asks(tmp_path: Path) -> None:
    """As jti; otherwise there is none."""
    async with world(tmp_path, MemoryKeys()) as w:
        bundles = {TD: w.trust.bundle}
        for name, wanted in (("plain", False), ("numbered", True)):
            entry = await w.entry(name, jwt_jti=wanted)
            token, _ = await w.issuer.jwt_svid(AGENT, entry.id, ["db"])
            claims = validate_jwt(token, "db", bundles, now=w.clock()).claims
            assert ("jti" in claims) is wanted
            assert not wanted or claims["jti"] in await w.store.run(ledger.states)


async def test_a_wit_svid_is_bound_to_the_key_of_the_request(tmp_path: Path) -> None:
    """It lives as an X509-SVID of the entry does, and its jti is its number in the ledger."""
    async with world(tmp_path, MemoryKeys(), wit=True) as w:
        entry = await w.entry(x509_ttl=600)
        held = key()
        token, ends = await w.issuer.wit_svid(AGENT, entry.id, new_csr(held))
        wit = validate_wit(token, {TD: w.trust.bundle}, now=w.clock())
        assert (wit.spiffe_id, wit.key) == (entry.spiffe_id, held.public_key())
        assert wit.expires_at == ends == w.clock() + timedelta(seconds=600)
        assert await w.store.run(ledger.states) == {wit.claims["jti"]: ledger.ISSUED}
        [found] = await w.store.run(inventory.page, inventory.Wanted(), int(w.clock().timestamp()))
        assert (found.kind, found.authority) == ("wit", w.trust.authority.wit_key().kid)


async def test_no_wit_svid_for_a_strangers_entry_or_without_its_key(tmp_path: Path) -> None:
    """Nothing is signed, and the refusal is in the inventory."""
    async with world(tmp_path, MemoryKeys(), wit=True) as w:
        entry = await w.entry()
        request = bytearray(csr())
        request[-1] ^= 1
        for asked, shown, kind in (("nobody", csr(), Kind.DENIED), (entry.id, bytes(request), Kind.INVALID)):
            with pytest.raises(RingfenceError) as caught:
                await w.issuer.wit_svid(AGENT, asked, shown)
            assert caught.value.kind is kind
        assert await w.store.run(ledger.states) == {}
        refused = await w.store.run(inventory.page, inventory.Wanted(state="refused"), int(w.clock().timestamp()))
        assert {each.kind for each in refused} == {"wit"}


async def test_no_wit_svid_without_the_feature(tmp_path: Path) -> None:
    """Said as such, and nothing is on record: every agent that has it on would ask again and again."""
    async with world(tmp_path, MemoryKeys()) as w:
        entry = await w.entry()
        with pytest.raises(RingfenceError) as caught:
            await w.issuer.wit_svid(AGENT, entry.id, csr())
        assert caught.value.kind is Kind.UNIMPLEMENTED
        assert "--feature wit-svid" in caught.value.hint
        assert await w.store.run(inventory.page, inventory.Wanted(), int(w.clock().timestamp())) == []


async def test_a_wit_svid_is_on_record_before_it_is_signed(tmp_path: Path) -> None:
    """A key manager that fails leaves the intent behind."""
    async with world(tmp_path, keys := MemoryKeys(), wit=True) as w:
        entry = await w.entry()
        keys.delete(w.trust.authority.wit_key().key_id)
        with pytest.raises(RingfenceError):
            await w.issuer.wit_svid(AGENT, entry.id, csr())
        assert list((await w.store.run(ledger.states)).values()) == [ledger.INTENT]
