"""A real SPIRE beside us: as a federation partner both ways, as the server above ours, and as one below it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.broker.nested.choice import AboveChoice
from ringfence.broker.run.identity import split_der
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, AgentUnderTest, running_agent, workload_client
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.web import WebAuthority
from tests.ca import openssl
from tests.e2e.spire import Spire, running_spire

OURS, THEIRS = TrustDomain("ours.example"), TrustDomain("spire.example")
pytestmark = [pytest.mark.e2e, pytest.mark.peer]
_ENDPOINT = """\
  federation {{
    bundle_endpoint {{
      address = "127.0.0.1"
      port = {{endpoint}}
      {profile}
    }}
  }}
"""
_BY_SVID = 'profile "https_spiffe" {}'
_BY_WEB = """\
profile "https_web" {{
  serving_cert_file {{
    cert_file_path = "{}"
    key_file_path = "{}"
    file_sync_interval = "1h"
  }}
}}"""

_BELOW_US = """\
UpstreamAuthority "spire" {{
  plugin_data {{
    server_address = "127.0.0.1"
    server_port = {port}
    workload_api_socket = "{socket}"
  }}
}}"""


def now() -> datetime:
    """SPIRE has the real clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Partners:
    """Both sides, federated, each with a workload: this process."""

    server: ServerUnderTest
    agent: AgentUnderTest
    spire: Spire


async def x509_of(socket: Path) -> tuple[Any, dict[str, bytes]]:
    """The first SVID that a Workload API gives this process, once it comes with federated bundles; and these."""
    async with workload_client(socket) as client:
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=40, wait_for_ready=True)
        while not (answer := await call.read()).federated_bundles:
            pass
        call.cancel()
        return answer.svids[0], dict(answer.federated_bundles)


async def check_both_believe_each_other(both: Partners) -> None:
    """Each side's workload, and agent, verify what the other's shows."""
    # X.509: the workload of each finds the other's roots, and these are enough, for OpenSSL too.
    ours, their_roots = await x509_of(both.agent.socket)
    theirs, our_roots = await x509_of(both.spire.agent_socket)
    for svid, roots, domain in (
        (theirs, their_roots[THEIRS.id], THEIRS),
        (ours, our_roots[OURS.id], OURS),
    ):
        bundle = SpiffeBundle(domain, tuple(split_der(roots)))
        assert verify_peer(split_der(svid.x509_svid), bundle, now=now()) == SpiffeId(domain, "/w")
        await asyncio.to_thread(_check_by_openssl, both.spire.folder, split_der(svid.x509_svid), bundle)
    # JWT: the agent of each takes the other's token.
    async with workload_client(both.agent.socket) as client:
        asked = workload.JWTSVIDRequest(audience=["theirs"])
        token = (await client.FetchJWTSVID(asked, metadata=HEADER, timeout=30)).svids[0].svid
        assert await both.spire.validates(token, "theirs") == f"{OURS.id}/w"
        foreign = workload.ValidateJWTSVIDRequest(audience="ours", svid=await both.spire.token("ours"))
        found = await client.ValidateJWTSVID(foreign, metadata=HEADER, timeout=30)
        assert found.spiffe_id == f"{THEIRS.id}/w"


def _check_by_openssl(folder: Path, chain: list[bytes], bundle: SpiffeBundle) -> None:
    roots, leaf = folder / "roots.pem", folder / "leaf.der"
    roots.write_bytes(bundle.x509_pem())
    leaf.write_bytes(chain[0])
    assert "OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", roots, leaf)


@asynccontextmanager
async def partners(tmp_path: Path, ours: Web, theirs: str, **environment: str) -> AsyncIterator[Partners]:
    """Both sides with their endpoints, and not federated yet."""
    extra = _ENDPOINT.format(profile=theirs)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path, trust_domain=OURS, bundle_endpoint=ours))
        agent = await stack.enter_async_context(running_agent(tmp_path, server, trust_domain=OURS))
        spire = await stack.enter_async_context(
            running_spire(tmp_path / "spire", THEIRS.name, extra=extra, **environment)
        )
        yield Partners(server, agent, spire)


async def register(both: Partners) -> None:
    """A workload on each side that federates with the other."""
    await both.server.create_entry(f"{OURS.id}/w", OWN_UID, federates_with=[THEIRS.name])
    await both.spire.create_entry("/w", "-federatesWith", OURS.name)
    await both.spire.agent("api", "fetch", "x509")


async def test_both_federate_by_their_svids(tmp_path: Path) -> None:
    """https_spiffe: each fetches the other's bundle from an endpoint that shows an SVID."""
    async with partners(tmp_path, Web(Address("127.0.0.1", 0)), _BY_SVID) as both:
        assert both.server.running is not None
        our_bundle = tmp_path / "ours.json"
        await asyncio.to_thread(our_bundle.write_bytes, both.server.parts.trust.bundle.to_json())
        await both.spire.server(
            *("federation", "create", "-trustDomain", OURS.name, "-bundleEndpointProfile", "https_spiffe"),
            *("-bundleEndpointURL", f"https://{both.server.running.bundle_endpoint}/"),
            *("-endpointSpiffeID", f"{OURS.id}/ringfence/server"),
            *("-trustDomainBundlePath", our_bundle, "-trustDomainBundleFormat", "spiffe"),
        )
        relation = pb.Federation(
            trust_domain=THEIRS.name,
            url=f"https://127.0.0.1:{both.spire.endpoint_port}",
            profile="https_spiffe",
            endpoint_id=f"{THEIRS.id}/spire/server",
            bootstrap=await both.spire.bundle(),
        )
        await both.server.admin.CreateFederation(relation)
        await both.server.admin.RefreshFederation(pb.RefreshFederationRequest(trust_domain=THEIRS.name))
        await both.spire.server("federation", "refresh", "-id", OURS.name)
        await register(both)
        await check_both_believe_each_other(both)


async def test_both_federate_by_web_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https_web: each fetches the other's bundle from an endpoint that the system trusts."""
    web, roots = WebAuthority(), tmp_path / "roots.pem"
    await asyncio.to_thread(roots.write_bytes, web.root())
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    files = await asyncio.to_thread(web.issue, tmp_path, "127.0.0.1")
    async with partners(tmp_path, Web(Address("127.0.0.1", 0), files), _BY_WEB.format(*files)) as both:
        assert both.server.running is not None
        await both.spire.server(
            *("federation", "create", "-trustDomain", OURS.name, "-bundleEndpointProfile", "https_web"),
            *("-bundleEndpointURL", f"https://{both.server.running.bundle_endpoint}/"),
        )
        url = f"https://127.0.0.1:{both.spire.endpoint_port}"
        await both.server.admin.CreateFederation(pb.Federation(trust_domain=THEIRS.name, url=url, profile="https_web"))
        await both.server.admin.RefreshFederation(pb.RefreshFederationRequest(trust_domain=THEIRS.name))
        await both.spire.server("federation", "refresh", "-id", OURS.name)
        await register(both)
        await check_both_believe_each_other(both)


async def test_a_real_spire_server_is_the_one_above(tmp_path: Path) -> None:
    """It signs our authority and publishes our JWT-SVID key: its bundle is ours, and its workloads believe ours."""
    async with AsyncExitStack() as stack:
        spire = await stack.enter_async_context(running_spire(tmp_path / "spire", THEIRS.name))
        await spire.create_entry("/below", "-downstream")
        above = AboveChoice(Address("127.0.0.1", spire.port), str(spire.agent_socket), "spire", f"{THEIRS.id}/below")
        await spire.agent("api", "fetch", "x509")
        (tmp_path / "below").mkdir()
        server = await stack.enter_async_context(running_server(tmp_path / "below", trust_domain=THEIRS, above=above))
        agent = await stack.enter_async_context(running_agent(tmp_path / "below", server, trust_domain=THEIRS))
        await server.create_entry(f"{THEIRS.id}/w", OWN_UID)
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
            svid = (await call.read()).svids[0]
            call.cancel()
            asked = workload.JWTSVIDRequest(audience=["theirs"])
            token = (await client.FetchJWTSVID(asked, metadata=HEADER, timeout=30)).svids[0].svid
            # X.509: leaf and our authority lead to SPIRE's root.
            root = SpiffeBundle.parse(THEIRS, await spire.bundle())
            assert len(split_der(svid.x509_svid)) == 2
            assert verify_peer(split_der(svid.x509_svid), root, now=now()) == SpiffeId(THEIRS, "/w")
            assert server.parts.trust.bundle.x509_authorities == root.x509_authorities
            # JWT: SPIRE's agent takes ours, and ours takes SPIRE's.
            assert await spire.validates(token, "theirs") == f"{THEIRS.id}/w"
            foreign = await spire.token("ours")
            known = workload.ValidateJWTSVIDRequest(audience="ours", svid=foreign)
            assert (await client.ValidateJWTSVID(known, metadata=HEADER, timeout=30)).spiffe_id == f"{THEIRS.id}/below"


async def test_a_new_authority_of_spires_is_followed(tmp_path: Path) -> None:
    """Prepared it is trusted here; activated, ours is signed anew under it, and the old one may go."""
    async with AsyncExitStack() as stack:
        spire = await stack.enter_async_context(running_spire(tmp_path / "spire", THEIRS.name))
        await spire.create_entry("/below", "-downstream", "-x509SVIDTTL", "60")
        await spire.agent("api", "fetch", "x509")
        above = AboveChoice(Address("127.0.0.1", spire.port), str(spire.agent_socket), "spire")
        server = await stack.enter_async_context(running_server(tmp_path, trust_domain=THEIRS, above=above))
        trust = server.parts.trust
        first = trust.authority.x509.current.issuer_id
        await spire.server("localauthority", "x509", "prepare")
        async with asyncio.timeout(60), _changes(server) as changed:
            while len(trust.bundle.x509_authorities) < 2:
                await changed()
        shown = await spire.server("localauthority", "x509", "show", "-output", "json")
        prepared = _prepared(shown)
        await spire.server("localauthority", "x509", "activate", "-authorityID", prepared)
        await spire.server("localauthority", "x509", "taint", "-authorityID", first)
        async with asyncio.timeout(60), _changes(server) as changed:
            while trust.authority.x509.current.issuer_id != prepared:
                await changed()


async def test_a_real_spire_server_lives_below_ours(tmp_path: Path) -> None:
    """Ours signs its authority and publishes its key: workloads on either side believe each other by our root."""
    (tmp_path / "above").mkdir()
    async with AsyncExitStack() as stack:
        listen = Address("127.0.0.1", 0)
        server = await stack.enter_async_context(
            running_server(tmp_path / "above", trust_domain=THEIRS, spire_listen=listen)
        )
        agent = await stack.enter_async_context(running_agent(tmp_path / "above", server, trust_domain=THEIRS))
        await server.create_entry(f"{THEIRS.id}/servers/spire", OWN_UID, downstream=True)
        assert server.running is not None
        assert server.running.spire is not None
        plugins = _BELOW_US.format(port=server.running.spire.port, socket=agent.socket)
        spire = await stack.enter_async_context(running_spire(tmp_path / "spire", THEIRS.name, plugins=plugins))
        await spire.create_entry("/w")
        await spire.agent("api", "fetch", "x509")
        async with workload_client(spire.agent_socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
            svid = (await call.read()).svids[0]
            call.cancel()
        ours = server.parts.trust.bundle
        assert len(split_der(svid.x509_svid)) == 2
        assert verify_peer(split_der(svid.x509_svid), ours, now=now()) == SpiffeId(THEIRS, "/w")
        assert split_der(svid.bundle) == list(ours.x509_authorities)
        # JWT: our agent takes SPIRE's token, and SPIRE's takes ours.
        async with workload_client(agent.socket) as client:
            known = workload.ValidateJWTSVIDRequest(audience="ours", svid=await spire.token("ours"))
            assert (await client.ValidateJWTSVID(known, metadata=HEADER, timeout=30)).spiffe_id == f"{THEIRS.id}/w"
            asked = workload.JWTSVIDRequest(audience=["theirs"])
            token = (await client.FetchJWTSVID(asked, metadata=HEADER, timeout=30)).svids[0].svid
            assert await spire.validates(token, "theirs") == f"{THEIRS.id}/servers/spire"


@asynccontextmanager
async def _changes(server: ServerUnderTest) -> AsyncIterator[Any]:
    """What waits for the server's next change."""
    with server.parts.agent_api.bell.listen() as rung:

        async def changed() -> None:
            await rung.wait()
            rung.clear()

        yield changed


def _prepared(shown: str) -> str:
    found: str = json.loads(shown)["prepared"]["authority_id"]
    return found
