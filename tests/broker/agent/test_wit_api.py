"""WIT-SVIDs from end to end: asked for, pushed anew, told apart by trust domain, kept over a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from joserfc.jwk import ECKey

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.server.daemon import system_clock
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.wit_svid import Wit, validate_wit
from ringfence.proto import workload
from ringfence.proto.client import Client
from tests.broker.agent.harness import HEADER, OWN_UID, AgentUnderTest, running_agent, status_of, workload_client
from tests.broker.broker_api.harness import shown
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.certs.material import OTHER_TD, TD, new_authority

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
