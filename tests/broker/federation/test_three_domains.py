"""Three trust domains: b.test is known by its SVID, c.test by a web certificate; a workload of a.test sees both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.agent.sds import SERVICE
from ringfence.broker.config import Web
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto import workload
from ringfence.xds.codec import build, message
from ringfence.xds.types import SECRET
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import Node
from tests.broker.web import WebAuthority

A, B, C = TrustDomain("a.test"), TrustDomain("b.test"), TrustDomain("c.test")
_V3 = "envoy.service.discovery.v3."


@dataclass
class Three:
    """The servers of three trust domains."""

    a: ServerUnderTest
    b: ServerUnderTest
    c: ServerUnderTest

    @property
    def by_svid(self) -> pb.Federation:
        """What a.test is told of b.test."""
        assert self.b.running is not None
        return pb.Federation(
            trust_domain="b.test",
            url=f"https://{self.b.running.bundle_endpoint}/",
            profile="https_spiffe",
            endpoint_id="spiffe://b.test/ringfence/server",
            bootstrap=self.b.parts.trust.bundle.to_json(),
        )

    @property
    def by_web(self) -> pb.Federation:
        """What a.test is told of c.test."""
        assert self.c.running is not None
        return pb.Federation(
            trust_domain="c.test", url=f"https://{self.c.running.bundle_endpoint}/", profile="https_web"
        )

    async def refresh(self, trust_domain: TrustDomain) -> SpiffeBundle:
        """What a.test holds of it once it has fetched."""
        await self.a.admin.RefreshFederation(pb.RefreshFederationRequest(trust_domain=trust_domain.name))
        return self.a.parts.federation.held[trust_domain].bundle


@pytest.fixture
async def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Three]:
    """Running, and not federated yet; a web authority that the system trusts certified c.test's endpoint."""
    web = WebAuthority()
    for name in "abc":
        (tmp_path / name).mkdir()
    await asyncio.to_thread((tmp_path / "roots.pem").write_bytes, web.root())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    files = await asyncio.to_thread(web.issue, tmp_path, "127.0.0.1")
    endpoints = {A: None, B: Web(Address("127.0.0.1", 0)), C: Web(Address("127.0.0.1", 0), files)}
    async with AsyncExitStack() as stack:
        yield Three(
            *[
                await stack.enter_async_context(
                    running_server(tmp_path / domain.name[0], trust_domain=domain, bundle_endpoint=endpoint)
                )
                for domain, endpoint in endpoints.items()
            ]
        )


async def foreign_token(server: ServerUnderTest, name: str, audience: str) -> str:
    """A JWT-SVID of that server's trust domain."""
    node = Node(server.address, server.bundle_pem)
    await node.attest(await server.token())
    entry = await server.create_entry(f"spiffe://{name}/w", "unix:uid:1")
    async with node.connected() as stream:
        await stream.say(jwt={"id": 1, "entry_id": entry.id, "audience": [audience]})
        token: str = (await stream.hear("jwt")).token
        return token


@asynccontextmanager
async def streaming(client: Any, method: str, request: Any) -> AsyncIterator[Any]:
    """An open stream of the Workload API."""
    call = getattr(client, method)(request, metadata=HEADER, timeout=20)
    yield call
    call.cancel()


async def until(call: Any, wanted: dict[str, bytes], field: str) -> None:
    """Read until the newest answer has exactly *wanted* in *field*."""
    async with asyncio.timeout(30):
        while dict(getattr(await call.read(), field)) != wanted:
            continue


async def until_foreign(socket: Path, wanted: dict[str, bytes]) -> None:
    """Wait until the SVIDs come with *wanted*."""
    async with (
        workload_client(socket) as client,
        streaming(client, "FetchX509SVID", workload.X509SVIDRequest()) as svids,
    ):
        await until(svids, wanted, "federated_bundles")


async def validated(client: Any, token: str) -> str | None:
    """The SPIFFE ID that the agent finds in *token*, None if it refuses it."""
    request = workload.ValidateJWTSVIDRequest(audience="db", svid=token)
    call = client.ValidateJWTSVID(request, metadata=HEADER, timeout=30)
    if await call.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return None
    return str((await call).spiffe_id)


async def test_bundles_are_fetched_by_both_profiles(three: Three) -> None:
    """With what the other side shows at that moment, rotations included."""
    await three.a.admin.CreateFederation(three.by_svid)
    await three.a.admin.CreateFederation(three.by_web)
    assert await three.refresh(B) == three.b.parts.trust.bundle
    assert await three.refresh(C) == three.c.parts.trust.bundle
    for server, domain in ((three.b, B), (three.c, C)):
        # The next authority is published, fetched, and only then signs: the order of a rotation on schedule.
        await asyncio.to_thread(server.parts.trust.authority.prepare, server.parts.clock())
        await server.parts.trust.publish()
        assert await three.refresh(domain) == server.parts.trust.bundle
        await server.parts.trust.replace(lead_seconds=0)
        await server.parts.identity.renew()
        assert await three.refresh(domain) == server.parts.trust.bundle


async def test_a_workload_sees_whom_its_entry_federates_with(three: Three, tmp_path: Path) -> None:
    """In every RPC and in SDS; more when its entry says so, fresh keys as they come, nothing once the relation ends."""
    await three.a.admin.CreateFederation(three.by_svid)
    await three.a.admin.CreateFederation(three.by_web)
    bundle_b, bundle_c = await three.refresh(B), await three.refresh(C)
    token_b, token_c = await foreign_token(three.b, "b.test", "db"), await foreign_token(three.c, "c.test", "db")
    entry = await three.a.create_entry("spiffe://a.test/w", OWN_UID, federates_with=["b.test"])
    own = three.a.parts.trust.bundle
    async with (
        running_agent(tmp_path, three.a, trust_domain=A) as agent,
        workload_client(agent.socket) as client,
        streaming(client, "FetchX509SVID", workload.X509SVIDRequest()) as svids,
        streaming(client, "FetchX509Bundles", workload.X509BundlesRequest()) as x509,
        streaming(client, "FetchJWTBundles", workload.JWTBundlesRequest()) as jwt,
    ):
        await until(svids, {B.id: bundle_b.x509_der()}, "federated_bundles")
        await until(x509, {A.id: own.x509_der(), B.id: bundle_b.x509_der()}, "bundles")
        await until(jwt, {A.id: own.jwks(), B.id: bundle_b.jwks()}, "bundles")
        assert await validated(client, token_b) == "spiffe://b.test/w"
        assert await validated(client, token_c) is None
        assert await contexts(agent.socket) == {A.name, B.name}
        # The entry now names c.test too.
        entry.federates_with[:] = ["b.test", "c.test"]
        await three.a.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[entry]))
        both = {B.id: bundle_b.x509_der(), C.id: bundle_c.x509_der()}
        await until(svids, both, "federated_bundles")
        await until(x509, both | {A.id: own.x509_der()}, "bundles")
        await until(jwt, {A.id: own.jwks(), B.id: bundle_b.jwks(), C.id: bundle_c.jwks()}, "bundles")
        assert await validated(client, token_c) == "spiffe://c.test/w"
        # b.test rotates.
        await three.b.parts.trust.replace(lead_seconds=0)
        newer = await three.refresh(B)
        await until(svids, both | {B.id: newer.x509_der()}, "federated_bundles")
        # The relation with b.test ends.
        await three.a.admin.DeleteFederation(pb.DeleteFederationRequest(trust_domain="b.test"))
        await until(svids, {C.id: bundle_c.x509_der()}, "federated_bundles")
        await until(jwt, {A.id: own.jwks(), C.id: bundle_c.jwks()}, "bundles")
        assert await validated(client, token_b) is None
        assert await contexts(agent.socket) == {A.name, C.name}


async def test_agents_are_sent_what_their_entries_need_and_no_more(three: Three) -> None:
    """An agent whose entries federate with nobody hears of nobody; one that is up to date hears nothing again."""
    await three.a.admin.CreateFederation(three.by_svid)
    bundle = await three.refresh(B)
    node = Node(three.a.address, three.a.bundle_pem)
    await node.attest(await three.a.token())
    await three.a.create_entry("spiffe://a.test/alone", "unix:uid:1")
    async with node.connected() as stream:
        assert not (await stream.hear("bundle")).federated
        await three.a.create_entry("spiffe://a.test/w", "unix:uid:2", federates_with=["b.test", "unknown.test"])
        update = await stream.hear("bundle")
        assert dict(update.federated) == {"b.test": bundle.to_json()}
        assert not update.bundle  # that one is known


async def test_a_restarted_agent_serves_foreign_bundles_from_its_disk(three: Three, tmp_path: Path) -> None:
    """And drops those that were withdrawn while it was away."""
    await three.a.admin.CreateFederation(three.by_svid)
    bundle = await three.refresh(B)
    await three.a.create_entry("spiffe://a.test/w", OWN_UID, federates_with=["b.test"])
    async with running_agent(tmp_path, three.a, trust_domain=A) as agent:
        await until_foreign(agent.socket, {B.id: bundle.x509_der()})
    await three.a.admin.DeleteFederation(pb.DeleteFederationRequest(trust_domain="b.test"))
    async with running_agent(tmp_path, three.a, joined=True, trust_domain=A) as agent:
        await until_foreign(agent.socket, {})


async def contexts(socket: Path) -> set[str]:
    """The trust domains in the validation context ALL, as Envoy gets it."""
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/FetchSecrets",
            request_serializer=lambda fields: build(f"{_V3}DiscoveryRequest", **fields).SerializeToString(),
            response_deserializer=message(f"{_V3}DiscoveryResponse").FromString,
        )
        response: Any = await call({"type_url": SECRET, "resource_names": ["ALL"]}, timeout=30)  # type: ignore[misc]
    secret: Any = message(SECRET.rpartition("/")[2]).FromString(response.resources[0].value)
    name = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
    config: Any = message(name).FromString(secret.validation_context.custom_validator_config.typed_config.value)
    return {domain.name for domain in config.trust_domains}
