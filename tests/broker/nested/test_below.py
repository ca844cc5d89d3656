"""What servers below may ask, and what is refused: each guard by itself, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.nested.below import DownstreamApi
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import new_csr
from ringfence.certs.shared import spki_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import spire
from ringfence.proto.client import Client
from ringfence.proto.service import path_of
from tests.broker.nested.tiers import BELOW
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.certs.material import new_key

SELECTOR = "unix:uid:4242"  # nobody here: SVIDs are made by hand
OTHER = SpiffeId(TRUST_DOMAIN, "/servers/other")


async def svid_of(server: ServerUnderTest, spiffe_id: SpiffeId) -> HeldSvid:
    """An SVID as the server's agents would have it."""
    key = new_key()
    return HeldSvid.of(await server.parts.issuer.own_svid(spiffe_id, key.public_key()), key, spiffe_id, 0)


@asynccontextmanager
async def asking(server: ServerUnderTest, svid: HeldSvid | None, service: Any) -> AsyncIterator[Client]:
    """A client of *service* that shows *svid*."""
    trust = Trust(TRUST_DOMAIN, await server.bundle())
    connection = await Dialler(Address.parse(server.address, flag=""), lambda: trust, lambda: svid).dial()
    try:
        yield Client(connection.channel, service)
    finally:
        await connection.close()


def request(ttl: int = 0) -> Any:
    """A sound one."""
    return spire.NewDownstreamX509CARequest(csr=new_csr(new_key()), preferred_ttl=ttl)


def publishing(kid: str = "k", ends: datetime | None = None) -> Any:
    """A sound key, for an hour."""
    end = ends or datetime.now(UTC) + timedelta(hours=1)
    key = spire.JWTKey(key_id=kid, public_key=spki_of(new_key().public_key()), expires_at=int(end.timestamp()))
    return spire.PublishJWTAuthorityRequest(jwt_authority=key)


async def code_of(call: Any) -> grpc.StatusCode:
    """How it was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def all_codes(server: ServerUnderTest, svid: HeldSvid | None) -> set[grpc.StatusCode]:
    """How all three calls are refused to *svid*."""
    async with asking(server, svid, spire.SVID) as svids, asking(server, svid, spire.BUNDLE) as bundles:
        return {
            await code_of(svids.NewDownstreamX509CA(request())),
            await code_of(bundles.PublishJWTAuthority(publishing())),
            await code_of(bundles.GetBundle(spire.GetBundleRequest())),
        }


async def test_who_shows_nothing_or_is_no_server_below_gets_nothing(tmp_path: Path) -> None:
    """No certificate; an identity without an entry, with one that is not downstream, and with one that has ended."""
    async with running_server(tmp_path) as server:
        assert await all_codes(server, None) == {grpc.StatusCode.UNAUTHENTICATED}
        svid = await svid_of(server, OTHER)
        assert await all_codes(server, svid) == {grpc.StatusCode.PERMISSION_DENIED}
        await server.create_entry(str(OTHER), SELECTOR)
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        assert await all_codes(server, svid) == {grpc.StatusCode.PERMISSION_DENIED}


async def test_the_right_goes_with_the_entry(tmp_path: Path) -> None:
    """On the connection that is open already."""
    async with running_server(tmp_path) as server:
        entry = await server.create_entry(BELOW, SELECTOR, downstream=True)
        svid = await svid_of(server, SpiffeId.parse(BELOW))
        async with asking(server, svid, spire.SVID) as client:
            assert (await client.NewDownstreamX509CA(request())).ca_cert_chain
            await server.delete_entry(entry.id)
            assert await code_of(client.NewDownstreamX509CA(request())) is grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_signed_is_recorded_before_and_after(tmp_path: Path) -> None:
    """In the ledger, and with who asked in the audit log; the life is that asked for, and no longer than ours."""
    async with running_server(tmp_path) as server:
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        async with asking(server, await svid_of(server, SpiffeId.parse(BELOW)), spire.SVID) as client:
            answer = await client.NewDownstreamX509CA(request(600))
            longest = await client.NewDownstreamX509CA(request(1 << 30))
        cert = x509.load_der_x509_certificate(answer.ca_cert_chain[0])
        assert cert.not_valid_after_utc - datetime.now(UTC) < timedelta(seconds=601)
        assert tuple(answer.x509_authorities) == (await server.bundle()).x509_authorities
        ours = server.parts.trust.authority.x509.current
        assert x509.load_der_x509_certificate(longest.ca_cert_chain[0]).not_valid_after_utc == ours.not_after
        serial = f"{cert.serial_number:032x}"
        [listed] = (await server.admin.ListIdentities(pb.ListIdentitiesRequest(serial=serial))).identities
        assert (listed.kind, listed.spiffe_id, listed.state) == ("x509-ca", BELOW, "live")
        assert await server.admin.ExplainIdentity(pb.ExplainIdentityRequest(subject=serial))
        log = (server.data_dir / "audit.jsonl").read_text()
        assert serial in log
        assert "downstream.sign" in log


async def test_a_request_that_is_none_is_refused(tmp_path: Path) -> None:
    """Garbage, too much of it, and one that another key signed."""
    sound = new_csr(new_key())
    async with running_server(tmp_path) as server:
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        async with asking(server, await svid_of(server, SpiffeId.parse(BELOW)), spire.SVID) as client:
            for csr in (b"", b"x" * 10_000, sound[:-1] + bytes([sound[-1] ^ 1])):
                asked = spire.NewDownstreamX509CARequest(csr=csr)
                assert await code_of(client.NewDownstreamX509CA(asked)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_key_is_published_until_its_end_and_over_a_restart(tmp_path: Path) -> None:
    """And withdrawn by publishing it with an end that has passed; what is no key is refused."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    async with running_server(tmp_path) as server:
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        svid = await svid_of(server, SpiffeId.parse(BELOW))
        async with asking(server, svid, spire.BUNDLE) as client:
            answer = await client.PublishJWTAuthority(publishing("k", ends))
            assert {key.key_id: key.expires_at for key in answer.jwt_authorities}["k"] == int(ends.timestamp())
            wrong = spire.PublishJWTAuthorityRequest(jwt_authority=spire.JWTKey(key_id="x", public_key=b"x"))
            assert await code_of(client.PublishJWTAuthority(wrong)) is grpc.StatusCode.INVALID_ARGUMENT
    async with running_server(tmp_path) as server:
        assert "k" in (await server.bundle()).jwt_authorities
        async with asking(server, svid, spire.BUNDLE) as client:
            shown = await client.GetBundle(spire.GetBundleRequest())
            assert {key.key_id for key in shown.jwt_authorities} == set((await server.bundle()).jwt_authorities)
            assert shown.sequence_number == (await server.bundle()).sequence
            await client.PublishJWTAuthority(publishing("k", datetime.now(UTC) - timedelta(hours=1)))
        assert "k" not in (await server.bundle()).jwt_authorities


async def test_a_tainted_root_is_shown_as_tainted(tmp_path: Path) -> None:
    """A server below that asks for the bundle learns it in time."""
    async with running_server(tmp_path) as server:
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        before = server.parts.trust.authority.x509.current.der
        await server.parts.trust.replace(lead_seconds=0)
        await server.parts.trust.take("x509", "taint")
        async with asking(server, await svid_of(server, SpiffeId.parse(BELOW)), spire.BUNDLE) as client:
            shown = await client.GetBundle(spire.GetBundleRequest())
        assert {root.asn1: root.tainted for root in shown.x509_authorities}[before]
        assert sum(root.tainted for root in shown.x509_authorities) == 1


async def test_an_svid_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    """The handshake ends it."""
    stranger = Authority.create(TRUST_DOMAIN, MemoryKeys(), now=datetime.now(UTC))
    key = new_key()
    below = SpiffeId.parse(BELOW)
    chain = stranger.issue_x509(below, key.public_key(), now=datetime.now(UTC), ttl=timedelta(hours=1))
    async with running_server(tmp_path) as server:
        await server.create_entry(BELOW, SELECTOR, downstream=True)
        async with asking(server, HeldSvid.of(chain, key, below, 0), spire.SVID) as client:
            assert await code_of(client.NewDownstreamX509CA(request())) is grpc.StatusCode.UNAVAILABLE


async def test_the_calls_are_those_of_spires_api(tmp_path: Path) -> None:
    """By their paths; and what is no message of it is refused in words."""
    async with running_server(tmp_path) as server:
        known = {path_of(method) for service in (spire.SVID, spire.BUNDLE) for method in service.methods}
        parts = server.parts
        api = DownstreamApi(parts.store, parts.registry, parts.trust, parts.clock)
        assert set(api.methods()) == known
        assert all(method.peer_certificate for method in api.methods().values())
        async with asking(server, await svid_of(server, OTHER), spire.SVID) as client:
            garbage = Garbage(b"\xff")
            assert await code_of(client.NewDownstreamX509CA(garbage)) is grpc.StatusCode.INVALID_ARGUMENT


class Garbage(bytes):
    """Bytes in place of a message."""

    __slots__ = ()

    def SerializeToString(self) -> bytes:  # noqa: N802  # as protobuf calls it
        """Themselves."""
        return bytes(self)


def test_the_bundle_of_the_dialler_is_what_counts() -> None:
    """A kind of server is known by one path, and no other."""
    trust = Trust(TRUST_DOMAIN, SpiffeBundle(TRUST_DOMAIN), "/spire/server")
    assert str(trust.server) == "spiffe://example.org/spire/server"
    assert str(replace(trust, path="/ringfence/server").server) == "spiffe://example.org/ringfence/server"
