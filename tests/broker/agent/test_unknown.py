"""A token names a key that no bundle here has: its trust domain's bundle is looked for at once, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.unknown import UnknownKeys
from ringfence.broker.agent.view import Bundles, View
from ringfence.broker.config import Web
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.jwt_svid import missing_key
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import Node
from tests.certs.material import HOUR, NOW, OTHER_TD, TD, TRAINER, new_authority

THEIRS = TrustDomain("b.test")
HOLDER = SpiffeId(THEIRS, "/w")


@dataclass(frozen=True, slots=True)
class Partners:
    """Ours, federated with theirs, and a client of our agent."""

    ours: ServerUnderTest
    theirs: ServerUnderTest
    client: Any

    async def validated(self, token: str) -> str | None:
        """The SPIFFE ID that our agent finds in *token*; None when it refuses it."""
        asked = workload.ValidateJWTSVIDRequest(audience="db", svid=token)
        call = self.client.ValidateJWTSVID(asked, metadata=HEADER, timeout=30)
        if await call.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return None
        return str((await call).spiffe_id)

    @property
    def held(self) -> frozenset[str]:
        """The names of their keys that we know."""
        return frozenset(self.ours.parts.federation.held[THEIRS].bundle.jwt_authorities)


@pytest.fixture
async def partners(tmp_path: Path) -> AsyncIterator[Partners]:
    """A relation that has fetched once, and would again in five minutes."""
    for name in ("ours", "theirs"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with AsyncExitStack() as stack:
        endpoint = Web(Address("127.0.0.1", 0))
        theirs = await stack.enter_async_context(
            running_server(tmp_path / "theirs", trust_domain=THEIRS, bundle_endpoint=endpoint)
        )
        ours = await stack.enter_async_context(running_server(tmp_path / "ours"))
        agent = await stack.enter_async_context(running_agent(tmp_path / "ours", ours))
        assert theirs.running is not None
        relation = pb.Federation(
            trust_domain=THEIRS.name,
            url=f"https://{theirs.running.bundle_endpoint}/",
            profile="https_spiffe",
            endpoint_id=f"{THEIRS.id}/ringfence/server",
            bootstrap=theirs.parts.trust.bundle.to_json(),
        )
        await ours.admin.CreateFederation(relation)
        await ours.admin.RefreshFederation(pb.RefreshFederationRequest(trust_domain=THEIRS.name))
        await ours.create_entry(str(TRAINER), OWN_UID, federates_with=[THEIRS.name])
        client = await stack.enter_async_context(workload_client(agent.socket))
        made = Partners(ours, theirs, client)
        assert await made.validated(token_of(theirs.parts.trust.authority)) == str(HOLDER)
        yield made


def token_of(authority: Authority) -> str:
    """A token of a workload over there, by the key that signs now."""
    return authority.issue_jwt(HOLDER, ["db"], now=datetime.now(UTC), ttl=timedelta(minutes=5))[0]


async def test_a_key_that_a_partner_just_made_is_believed_at_once(partners: Partners) -> None:
    """Long before the bundle would be fetched again."""
    await partners.theirs.parts.trust.replace(lead_seconds=0)
    token = token_of(partners.theirs.parts.trust.authority)
    assert partners.theirs.parts.trust.authority.current.jwt.kid not in partners.held
    assert await partners.validated(token) == str(HOLDER)


async def test_made_up_keys_have_a_bundle_fetched_once_and_not_again(partners: Partners) -> None:
    """The first of them waits; the others are refused at once."""
    forged = new_authority(THEIRS, now=datetime.now(UTC))[0]
    assert await partners.validated(token_of(forged)) is None
    tried = partners.ours.parts.federation.state(THEIRS).refreshed_at
    started = asyncio.get_running_loop().time()
    for _ in range(20):
        assert await partners.validated(token_of(new_authority(THEIRS, now=datetime.now(UTC))[0])) is None
    assert asyncio.get_running_loop().time() - started < 20.0, "each would have waited for seconds"
    assert partners.ours.parts.federation.state(THEIRS).refreshed_at == tried


async def test_only_what_an_agents_entries_federate_with_is_fetched_for_it(partners: Partners) -> None:
    """An agent has no say over the relations of others."""
    ours = partners.ours
    node = Node(ours.address, ours.bundle_pem)
    await node.attest(await ours.token())
    entry = (await ours.admin.ListEntries(pb.ListEntriesRequest())).entries[0]
    for federates, fetched in (([], False), ([THEIRS.name], True)):
        entry = await changed(ours, entry, federates)
        before = ours.parts.federation.state(THEIRS)
        async with node.connected() as stream:
            await stream.say(unknown_key={"trust_domain": THEIRS.name, "key_id": "k"})
            await stream.say(unknown_key={"trust_domain": "nobody.test", "key_id": "k"})
            await stream.say(jwt={"id": 1, "entry_id": entry.id, "audience": ["db"]})
            await stream.hear("jwt")  # answered in the order asked
        assert (ours.parts.federation.state(THEIRS).next_at != before.next_at) is fetched


async def changed(server: ServerUnderTest, entry: pb.Entry, federates: list[str]) -> pb.Entry:
    """The entry, federating with these."""
    entry = pb.Entry.FromString(entry.SerializeToString())
    del entry.federates_with[:]
    entry.federates_with.extend(federates)
    entry.revision = 0
    found: pb.Entry = (await server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[entry]))).results[0].entry
    return found


async def test_a_key_of_ours_is_believed_though_its_push_was_lost(
    partners: Partners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent asks, and is sent the bundle that the server takes it to have."""
    taken_in, trust = Cache.on_bundle, partners.ours.parts.trust
    lost: asyncio.Queue[bytes] = asyncio.Queue()
    monkeypatch.setattr(Cache, "on_bundle", lambda _, update: lost.put_nowait(update.bundle))
    await trust.replace(lead_seconds=0)
    async with asyncio.timeout(30):
        while await lost.get() != trust.bundle.to_json():
            continue
    monkeypatch.setattr(Cache, "on_bundle", taken_in)
    token, _ = trust.authority.issue_jwt(TRAINER, ["db"], now=datetime.now(UTC), ttl=timedelta(minutes=5))
    assert await partners.validated(token) == str(TRAINER)


async def test_an_agent_that_asks_for_our_bundle_again_and_again_is_sent_it_once(partners: Partners) -> None:
    """Within five seconds; what it asks besides is answered."""
    ours = partners.ours
    node = Node(ours.address, ours.bundle_pem)
    await node.attest(await ours.token())
    asked = {"trust_domain": ours.parts.trust.bundle.trust_domain.name, "key_id": "k"}
    async with node.connected() as stream:
        await stream.hear("entries")  # all that there is has been told
        await stream.say(unknown_key=asked)
        assert (await stream.hear("bundle")).bundle == ours.parts.trust.bundle.to_json()
        await stream.say(unknown_key=asked)
        await stream.say(jwt={"id": 1, "entry_id": "none", "audience": ["db"]})
        assert (await stream.call.read()).WhichOneof("message") == "jwt"  # answered in the order asked
        await ours.create_entry("spiffe://example.org/later", "unix:uid:1")
        assert (await stream.call.read()).WhichOneof("message") == "entries"  # a bundle would come before


class Pushes:
    """A watch whose next view is the one that is pushed."""

    def __init__(self) -> None:
        self.pushed: asyncio.Future[View] = asyncio.get_running_loop().create_future()

    async def first(self, ready: Callable[[View], bool]) -> View:
        """Once it is ready."""
        view = await asyncio.shield(self.pushed)
        assert ready(view)
        return view


async def test_those_who_miss_a_key_at_once_wait_for_one_answer() -> None:
    """One question; the second asker is not refused because the first has not heard yet."""
    told: list[tuple[str, str]] = []
    keys = UnknownKeys(lambda *what: told.append(what) or True, patience=60)  # type: ignore[func-returns-value]
    watch, authority = Pushes(), new_authority()[0]
    token, _ = authority.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    old, new = (view_of(bundle) for bundle in (new_authority()[0].bundle(1), authority.bundle(2)))
    asking = [asyncio.create_task(keys.view_for(token, watch, old)) for _ in range(3)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    watch.pushed.set_result(new)
    assert await asyncio.gather(*asking) == [new] * 3
    assert told == [(TD.name, authority.current.jwt.kid)]


async def test_without_a_server_nobody_waits() -> None:
    """A question that cannot be put is put again by the next one."""
    keys, watch = UnknownKeys(lambda *_: False, patience=60), Pushes()
    token, _ = new_authority()[0].issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    old = view_of(new_authority()[0].bundle(1))
    for _ in range(2):
        assert await keys.view_for(token, watch, old) is old  # type: ignore[arg-type]


def view_of(own: SpiffeBundle) -> View:
    """What somebody with one entry sees."""
    entry = Entry("e", TRAINER, frozenset(), HOUR, HOUR, (), "", 0)
    return View((entry,), (), Bundles(own, {}, own.sequence), waits=False)


def test_what_is_missing_is_told_from_the_token_alone() -> None:
    """A trust domain that is known, and a key that is not; garbage names nothing."""
    ours, theirs = new_authority()[0], new_authority(OTHER_TD)[0]
    token, _ = ours.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    assert missing_key(token, {TD: ours.bundle(1)}) is None
    assert missing_key(token, {OTHER_TD: theirs.bundle(1)}) is None
    assert missing_key(token, {TD: new_authority()[0].bundle(1)}) == (TD, ours.current.jwt.kid)
    for garbage in ("", "a.b.c", token[:20]):
        assert missing_key(garbage, {TD: ours.bundle(1)}) is None
