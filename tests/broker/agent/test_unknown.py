"""A token names a key that no bundle here has: its trust domain's bundle is fetched at once, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.config import Address, Web
from ringfence.certs.authority import Authority
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
        call = self.client.ValidateJWTSVID(asked, metadata=HEADER, timeout=10)
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
    assert asyncio.get_running_loop().time() - started < 3.0
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


def test_what_is_missing_is_told_from_the_token_alone() -> None:
    """A trust domain that is known, and a key that is not; garbage names nothing."""
    ours, theirs = new_authority()[0], new_authority(OTHER_TD)[0]
    token, _ = ours.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)
    assert missing_key(token, {TD: ours.bundle(1)}) is None
    assert missing_key(token, {OTHER_TD: theirs.bundle(1)}) is None
    assert missing_key(token, {TD: new_authority()[0].bundle(1)}) == (TD, ours.current.jwt.kid)
    for garbage in ("", "a.b.c", token[:20]):
        assert missing_key(garbage, {TD: ours.bundle(1)}) is None
