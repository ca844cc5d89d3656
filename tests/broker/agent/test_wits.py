"""WIT-SVIDs from end to end: keys made on the node, tokens pushed, renewed, withdrawn, kept over a restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from joserfc.jwk import ECKey

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.wits import HeldWit, Wits
from ringfence.broker.server.daemon import system_clock
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import csr_public_key
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.wit_svid import Wit, issue_wit, validate_wit
from ringfence.proto import workload
from ringfence.proto.client import Client
from tests.broker.agent.harness import HEADER, OWN_UID, AgentUnderTest, running_agent, status_of, workload_client
from tests.broker.broker_api.harness import shown
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.certs.material import HOUR, MINUTE, NOW, OTHER_TD, TD, TRAINER, new_authority, new_key

ON = frozenset({"wit-svid"})
ID, OTHER = "spiffe://example.org/ns/a/sa/w", "spiffe://example.org/ns/a/sa/v"


@asynccontextmanager
async def both(
    tmp_path: Path, server: frozenset[str] = ON, **fields: Any
) -> AsyncIterator[tuple[ServerUnderTest, Any]]:
    """A server and an agent with the feature, and a client of the agent."""
    fields.setdefault("features", ON)
    async with (
        running_server(tmp_path, features=server) as running,
        running_agent(tmp_path, running, **fields) as agent,
        workload_client(agent.socket) as client,
    ):
        yield running, client


def stream(client: Client, spiffe_id: str = "") -> Any:
    """An open FetchWITSVID."""
    return client.FetchWITSVID(workload.WITSVIDRequest(spiffe_id=spiffe_id), metadata=HEADER, timeout=30)


async def bundle_of(client: Client, trust_domain: TrustDomain = TD) -> SpiffeBundle:
    """What FetchWITBundles says first of *trust_domain*."""
    call = client.FetchWITBundles(workload.WITBundlesRequest(), metadata=HEADER, timeout=30)
    text: str = (await call.read()).bundles[trust_domain.id]
    call.cancel()
    return SpiffeBundle.parse(trust_domain, text.encode())


def read(svid: Any, bundle: SpiffeBundle) -> Wit:
    """What a workload makes of one of the answer's SVIDs."""
    return validate_wit(svid.wit_svid, {bundle.trust_domain: bundle}, now=system_clock())


@pytest.mark.e2e
async def test_a_workload_gets_a_token_and_its_private_key(tmp_path: Path) -> None:
    """The token verifies with the WIT bundle, the key is the one that it confirms; X.509 keys are others."""
    async with both(tmp_path) as (server, client):
        await server.create_entry(ID, OWN_UID, hint="main", x509_ttl=600)
        [svid] = (await (call := stream(client)).read()).svids
        assert (svid.spiffe_id, svid.hint) == (ID, "main")
        wit = read(svid, await bundle_of(client))
        assert str(wit.spiffe_id) == ID
        jwk = json.loads(svid.wit_svid_key)
        assert jwk.keys() == {"kty", "crv", "x", "y", "d", "alg"}
        assert ECKey.import_key(jwk).private_key.public_key() == wit.key
        listed = await server.admin.ListIdentities(admin.ListIdentitiesRequest(spiffe_id=ID))
        assert {each.kind for each in listed.identities} == {"x509", "wit"}
        call.cancel()


@pytest.mark.e2e
async def test_one_identity_may_be_asked_for(tmp_path: Path) -> None:
    """Then the others are neither sent, nor keep the stream open when that one goes."""
    async with (
        running_server(tmp_path, features=ON) as server,
        running_agent(tmp_path, server, features=ON) as agent,
        workload_client(agent.socket) as client,
    ):
        wanted = await server.create_entry(ID, OWN_UID)
        await server.create_entry(OTHER, OWN_UID)
        every = stream(client)
        await shown(every, ID, OTHER)
        one = stream(client, ID)
        assert [svid.spiffe_id for svid in (await one.read()).svids] == [ID]
        agent.hold_for(0.3)
        assert (await status_of(stream(client, "spiffe://example.org/x")))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await status_of(stream(client, "spiffe://example.org//")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        await server.delete_entry(wanted.id)
        assert (await status_of(one))[0] is grpc.StatusCode.PERMISSION_DENIED
        await shown(every, OTHER)
        every.cancel()


@pytest.mark.e2e
async def test_a_rotation_pushes_tokens_of_the_new_authority(tmp_path: Path) -> None:
    """The bundle first, which both of its keys are in; a revoked one's tokens are replaced at once."""
    async with both(tmp_path) as (server, client):
        await server.create_entry(ID, OWN_UID)
        tokens, bundles = stream(client), client.FetchWITBundles(workload.WITBundlesRequest(), metadata=HEADER)
        first = (await tokens.read()).svids[0]
        assert len(json.loads((await bundles.read()).bundles[TD.id])["keys"]) == 1

        async def step(name: str) -> None:
            await server.admin.StepAuthority(admin.StepAuthorityRequest(kind="wit", step=name), timeout=20)

        await step("prepare")
        assert len(json.loads((await bundles.read()).bundles[TD.id])["keys"]) == 2
        await step("activate")
        second = (await tokens.read()).svids[0]
        assert second.wit_svid_key != first.wit_svid_key
        assert read(second, await bundle_of(client)).kid != read(first, await bundle_of(client)).kid
        tokens.cancel()
        bundles.cancel()


@pytest.mark.e2e
async def test_federated_wit_keys_stand_under_their_own_name(tmp_path: Path) -> None:
    """Those of the trust domains that an entry federates with; JWT bundles hold none of them."""
    partner = new_authority(OTHER_TD, wit=True)[0].bundle(7)
    async with both(tmp_path) as (server, client):
        await server.admin.SetBundle(admin.SetBundleRequest(trust_domain=OTHER_TD.name, bundle=partner.to_json()))
        await server.create_entry(ID, OWN_UID, federates_with=[OTHER_TD.name])
        await (call := stream(client)).read()
        call.cancel()
        assert (await bundle_of(client, OTHER_TD)).wit_authorities == partner.wit_authorities
        assert (await bundle_of(client)).wit_authorities == (await server.bundle()).wit_authorities
        jwts = client.FetchJWTBundles(workload.JWTBundlesRequest(), metadata=HEADER, timeout=30)
        texts = (await jwts.read()).bundles
        jwts.cancel()
        assert texts.keys() == {TD.id, OTHER_TD.id}
        assert all(jwk["use"] == "jwt-svid" for text in texts.values() for jwk in json.loads(text)["keys"])


@pytest.mark.e2e
async def test_a_server_without_the_feature_is_said_to_be(tmp_path: Path) -> None:
    """UNIMPLEMENTED, after which clients do not come back (section 7)."""
    async with both(tmp_path, frozenset()) as (server, client):
        await server.create_entry(ID, OWN_UID)
        code, text = await status_of(stream(client))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "--feature wit-svid" in text
        assert (await bundle_of(client)).wit_authorities == {}


@pytest.mark.e2e
async def test_a_restarted_agent_serves_with_the_server_down(tmp_path: Path) -> None:
    """The same token with the same key; and one without the feature serves none, and forgets them."""

    async def fetched(agent: AgentUnderTest) -> Any:
        async with workload_client(agent.socket) as client:
            answer = await (call := stream(client)).read()
            call.cancel()
            return answer

    async with running_server(tmp_path, features=ON) as server, running_agent(tmp_path, server, features=ON) as agent:
        address = server.address
        await server.create_entry(ID, OWN_UID)
        before = await fetched(agent)
    again: dict[str, Any] = {"address": address, "joined": True}
    async with running_agent(tmp_path, None, features=ON, **again) as agent:
        assert await fetched(agent) == before
    kept, token = tmp_path / "agent" / "cache.json", before.svids[0].wit_svid
    assert token in kept.read_text()
    async with running_agent(tmp_path, None, **again) as agent, workload_client(agent.socket) as client:
        assert (await status_of(stream(client)))[0] is grpc.StatusCode.UNIMPLEMENTED
    assert token not in kept.read_text()


def test_nothing_is_imported_for_it_unless_it_is_wanted() -> None:
    """Neither by the agent nor by the server: their start has no time to spare."""
    code = (
        "import sys, ringfence.broker.agent.daemon, ringfence.broker.server.main\n"
        "print(*(name for name in sys.modules if name.startswith('ringfence.') and 'wit' in name.rpartition('.')[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


LIFE = timedelta(hours=1)
ENTRY = Entry("e", TRAINER, frozenset({Selector("unix", "uid:1")}), LIFE, LIFE, (), "", 0)


class FakeServer:
    """Signs with an authority of its own, or answers as it is told."""

    def __init__(self, authority: Authority) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.authority = authority
        self.now = NOW
        self.asked = 0
        self.made: Callable[[bytes], agent_pb2.WitResponse] = self.issued

    def clock(self) -> Any:
        """The test's time."""
        return self.now

    def issued(self, csr: bytes) -> agent_pb2.WitResponse:
        """A token for the key that is asked with."""
        token, ends = issue_wit(self.authority, TRAINER, csr_public_key(csr), now=self.now, ttl=LIFE)
        return agent_pb2.WitResponse(token=token, expires_at=int(ends.timestamp()))

    async def request_wit(self, _: str, csr: bytes) -> agent_pb2.WitResponse:
        """As the link."""
        self.asked += 1
        return self.made(csr)


class Told:
    """The streams: which entries they were told of."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    def on_svids(self, entry_ids: frozenset[str]) -> None:
        """Their documents changed."""
        self.events.put_nowait(entry_ids)

    def on_entries(self, *_: object, **__: object) -> None:
        """Not of interest."""

    def on_bundles(self) -> None:
        """Not of interest."""

    def on_revoked(self, *_: object, **__: object) -> None:
        """Not of interest."""

    def watched(self) -> frozenset[str]:
        """One is open."""
        return frozenset({"e"})


@asynccontextmanager
async def node() -> AsyncIterator[tuple[FakeServer, Wits, Told, Cache]]:
    """The part under test, running, and what is around it."""
    authority, _ = new_authority(wit=True)
    server, told = FakeServer(authority), Told()
    cache = Cache(authority.bundle(1), clock=server.clock)
    cache.on_entries(agent_pb2.EntriesUpdate(full=True, upserts=[ENTRY.write()]))
    cache.listen(told)
    wits = Wits(cache, server)
    wits.attach()
    running = asyncio.create_task(wits.run())
    try:
        yield server, wits, told, cache
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_is_renewed_at_half_of_its_life_with_a_new_key() -> None:
    """Give or take a tenth of the half; whoever shows it is told."""
    async with node() as (server, wits, told, cache):
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        [(_, first)], waits = wits.of([ENTRY])
        assert not waits
        assert abs(first.renew_at - (NOW + LIFE / 2)) <= LIFE / 20
        server.now = first.renew_at + MINUTE
        cache.hooks.rotate(timedelta(0), frozenset({"another authority"}))  # wakes it, and touches nothing
        await told.events.get()
        [(_, second)], _ = wits.of([ENTRY])
        assert server.asked == 2
        assert (second.key != first.key, second.token != first.token) == (True, True)


@pytest.mark.parametrize("late", [timedelta(minutes=10), timedelta(minutes=59), timedelta(minutes=59, seconds=58)])
def test_one_that_comes_late_in_its_life_is_left_alone_for_a_while(late: timedelta) -> None:
    """By a clock that is ahead of the server's, asking again at once would bring the same: a third of what is left."""
    authority, _ = new_authority(wit=True)
    key = new_key()
    token, ends = issue_wit(authority, TRAINER, key.public_key(), now=NOW, ttl=LIFE)
    now = NOW + late
    held = HeldWit.of(token, key, ENTRY, authority.bundle(1), now)
    assert held.renew_at - now >= (ends - now) / 3


async def test_a_taint_renews_what_that_authority_signed() -> None:
    """At once when the server says so."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        cache.hooks.rotate(timedelta(0), frozenset({server.authority.wit_key().kid}))
        await told.events.get()
        assert server.asked == 2


async def test_what_a_revoked_authority_signed_is_shown_no_more() -> None:
    """The bundle alone says so, whether or not anybody said taint."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        server.authority.want_wit(NOW, wanted=False)
        server.authority.want_wit(NOW, wanted=True)
        cache.on_bundle(agent_pb2.BundleUpdate(bundle=server.authority.bundle(2).to_json()))
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        assert len(wits.of([ENTRY])[0]) == 1


async def test_an_entry_that_goes_takes_its_token_along() -> None:
    """From memory and from what is kept on disk."""
    async with node() as (_, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        assert wits.dump().keys() == {"e"}
        cache.on_entries(agent_pb2.EntriesUpdate(revision=1, removed=["e"]))
        assert wits.dump() == {}


async def test_an_entry_that_changes_while_it_is_asked_for_is_asked_for_anew() -> None:
    """What it said before is not served."""
    async with node() as (server, wits, told, cache):
        changed = replace(ENTRY, x509_ttl=LIFE / 2)

        def meanwhile(csr: bytes) -> agent_pb2.WitResponse:
            server.made = server.issued
            cache.on_entries(agent_pb2.EntriesUpdate(revision=1, upserts=[changed.write()]))
            return server.issued(csr)

        server.made = meanwhile
        wits.of([ENTRY])
        await told.events.get()
        assert server.asked == 2
        assert len(wits.of([changed])[0]) == 1


async def test_what_is_revoked_is_forgotten_and_not_taken() -> None:
    """Neither what is held, nor what comes later, nor what was kept."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        kept = wits.dump()
        revoked = agent_pb2.Revoked(identities=[agent_pb2.RevokedIdentity(spiffe_id=str(TRAINER))])
        cache.on_revoked(agent_pb2.RevokedUpdate(revoked=revoked.SerializeToString()))
        assert wits.dump() == {}
        wits.restore(kept)
        assert wits.dump() == {}
        came = asyncio.Event()

        def late(csr: bytes) -> agent_pb2.WitResponse:
            came.set()
            return server.issued(csr)

        server.made = late
        wits.of([ENTRY])
        await came.wait()
        assert wits.dump() == {}


@pytest.mark.parametrize("code", [7, 12])
async def test_a_refusal_is_told_and_asked_again_later(code: int) -> None:
    """Nobody waits meanwhile; without the feature there all streams are told so."""
    async with node() as (server, wits, told, _):
        server.made = lambda _: agent_pb2.WitResponse(code=code, detail="no")
        wits.of([ENTRY])
        await told.events.get()
        assert wits.of([ENTRY]) == ((), False)
        assert wits.are_off == (code == 12)
        server.made = server.issued
        server.now += MINUTE
        assert not wits.are_off
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        assert len(wits.of([ENTRY])[0]) == 1


async def test_what_was_not_asked_for_is_not_served() -> None:
    """A token for another key, for another name, of an authority that is not in the bundle, or none at all."""
    authority, stranger = (new_authority(wit=True)[0] for _ in range(2))
    key, other = new_key(), SpiffeId(TD, "/ns/a/sa/other")
    bundle = authority.bundle(1)

    def made(by: Authority, name: SpiffeId, of: Any) -> str:
        return issue_wit(by, name, of.public_key(), now=NOW, ttl=HOUR)[0]

    assert HeldWit.of(made(authority, TRAINER, key), key, ENTRY, bundle, NOW).spiffe_id == TRAINER
    for token, says in (
        (made(authority, TRAINER, new_key()), "another key"),
        (made(authority, other, key), "when asked for"),
        (made(stranger, TRAINER, key), "no such WIT-SVID key"),
        ("x.y.z", "no token"),
    ):
        with pytest.raises(RingfenceError, match=says) as caught:
            HeldWit.of(token, key, ENTRY, bundle, NOW)
        assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_what_is_kept_reads_back_and_shows_no_key() -> None:
    """Damage costs that one token only; one that ended stays away."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        kept = json.loads(json.dumps(wits.dump()))
        [(_, held)], _ = wits.of([ENTRY])
        assert held.key not in repr(held)
        again = Wits(cache, server)
        again.restore({**kept, "damaged": {}, "worse": [], "nobody": kept["e"]})
        assert again.of([ENTRY])[0] == ((ENTRY, held),)
        assert again.dump() == kept
        server.now += 2 * LIFE
        late = Wits(cache, server)
        late.restore(kept)
        assert late.dump() == {}
