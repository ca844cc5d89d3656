"""A broker of a federated trust domain whose authority was just made: refused once, and let in soon after."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.broker_api.allowed import PID, Broker
from ringfence.broker.broker_api.endpoint import Untrusted
from ringfence.broker.config import Web
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.broker.agent.harness import running_agent
from tests.broker.broker_api.harness import (
    HEADER,
    PROXY,
    broker_config,
    broker_socket,
    by_pid,
    cache_of,
    dial,
    ended,
    foreign_credential,
    request,
    until,
)
from tests.broker.server.harness import ServerUnderTest, running_server

THEIRS = TrustDomain("b.test")
PARTNER = SpiffeId(THEIRS, "/node-proxy")


@dataclass
class Partners:
    """Ours, federated with theirs, and our agent's broker socket."""

    ours: ServerUnderTest
    theirs: ServerUnderTest
    socket: Path

    async def is_let_in(self) -> bool:
        """Whether a broker of theirs, by the authority that signs there now, gets past the handshake."""
        shown = foreign_credential(self.theirs.parts.trust.authority, str(PARTNER))  # type: ignore[arg-type]
        async with dial(self.ours, self.socket, shown) as broker:
            call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(1)), metadata=HEADER)
            return (await ended(call)).code.name != "UNAVAILABLE"


@pytest.fixture
async def partners(tmp_path: Path) -> AsyncIterator[Partners]:
    """The bundle was fetched once, and would be again in minutes."""
    for name in ("ours", "theirs"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with AsyncExitStack() as stack:
        endpoint = Web(Address("127.0.0.1", 0))
        theirs = await stack.enter_async_context(
            running_server(tmp_path / "theirs", trust_domain=THEIRS, bundle_endpoint=endpoint)
        )
        ours = await stack.enter_async_context(running_server(tmp_path / "ours"))
        config = broker_config(tmp_path, Broker(SpiffeId.parse(PROXY), {PID: True}), Broker(PARTNER, {PID: False}))
        agent = await stack.enter_async_context(running_agent(tmp_path / "ours", ours, broker=config))
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
        await ours.create_entry("spiffe://example.org/partner", "unix:uid:4242", federates_with=[THEIRS.name])
        await until(lambda: THEIRS in cache_of(agent).bundles.federated)
        made = Partners(ours, theirs, broker_socket(tmp_path))
        assert await made.is_let_in()
        yield made


async def test_a_broker_by_an_authority_that_its_domain_just_made_is_let_in_soon(partners: Partners) -> None:
    """The refused handshake has the agent tell its server, which fetches the bundle."""
    await partners.theirs.admin.Rotate(pb.RotateRequest(authority=True))
    assert not await partners.is_let_in()
    async with asyncio.timeout(20):
        while not await partners.is_let_in():
            continue


def test_only_the_domains_of_allowed_brokers_are_looked_for(tmp_path: Path) -> None:
    """Others than ours, and for no other failure than an issuer that is not known."""
    asked: list[TrustDomain] = []
    config = broker_config(tmp_path, Broker(SpiffeId.parse(PROXY), {PID: True}), Broker(PARTNER, {PID: False}))
    untrusted = Untrusted(config, TrustDomain("example.org"), asked.append)
    for code, expected in ((10, []), (20, [THEIRS])):  # expired; no issuer
        error = ssl.SSLCertVerificationError()
        error.verify_code = code
        untrusted(error)
        assert asked == expected
