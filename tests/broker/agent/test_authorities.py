"""What an agent does when an authority is tainted, or is gone from the bundle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.x509 import load_der_x509_certificate

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.certs.authority import Authority
from ringfence.certs.certificate import issuer_key_id
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import running_server
from tests.certs.material import HOUR, NOW, TD, TRAINER


def held(authority: Authority) -> HeldSvid:
    """An SVID that the authority signs now."""
    key = new_key()
    return HeldSvid.of(authority.issue_x509(TRAINER, key.public_key(), now=NOW, ttl=HOUR), key, TRAINER, 0.0)


def test_what_a_revoked_root_signed_is_renewed_even_if_nobody_said_taint() -> None:
    """An agent that was away for both learns it from the bundle alone; what other roots signed is left alone."""
    authority = Authority.create(TD, MemoryKeys(), now=NOW)
    cache = Cache(authority.bundle(1), clock=lambda: NOW)
    old = held(authority)
    authority.prepare(NOW)
    authority.activate(NOW)
    new = held(authority)
    cache.svids.put("old", old, NOW)
    cache.svids.put("new", new, NOW)
    cache.on_bundle(agent_pb2.BundleUpdate(bundle=authority.bundle(2).to_json()))
    assert {svid.renew_at for _, svid in cache.svids} == {old.renew_at, new.renew_at}
    authority.x509.taint()
    authority.x509.revoke()
    cache.on_bundle(agent_pb2.BundleUpdate(bundle=authority.bundle(3).to_json()))
    assert {entry: svid.renew_at for entry, svid in cache.svids} == {"old": NOW, "new": new.renew_at}
    assert cache.needs.wake.is_set()


@pytest.mark.e2e
async def test_a_taint_renews_at_once_what_that_authority_signed(tmp_path: Path) -> None:
    """The open stream gets an SVID of the other authority, and the agent itself has one too."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        first = server.parts.trust.authority.current.x509.id
        await server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step="prepare"))
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)

            async def issuer() -> str:
                return issuer_key_id(load_der_x509_certificate((await call.read()).svids[0].x509_svid))

            assert await issuer() == first
            # As if this agent had missed the activation: nobody is told to renew.
            trust = server.parts.trust
            trust.authority.x509.activate(trust._clock())
            second = trust.authority.current.x509.id
            await server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step="taint", id=first))
            async with asyncio.timeout(20):
                while await issuer() != second:
                    pass
            call.cancel()
        assert agent.agent is not None
        async with asyncio.timeout(20):
            while agent.agent._node.identity.svid.authority != second:  # noqa: ASYNC110  # the agent has no such event
                await asyncio.sleep(0.05)
