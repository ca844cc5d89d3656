"""The bundle endpoint in both profiles, as a partner without any certificate sees it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.broker.server.main import config_of
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.svid import verify_peer
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.broker.server.test_public import given
from tests.broker.web import WebAuthority, request, trusting

LISTEN = ("--bundle-listen", "0.0.0.0:8445")
FILES = ("--bundle-cert", "a.pem", "--bundle-key", "a.key")


def unchecked() -> ssl.SSLContext:
    """A client that looks at the certificate itself, as SPIFFE has it: by the ID, not by the host."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def endpoint(server: ServerUnderTest) -> str:
    """Where it is."""
    assert server.running is not None
    return str(server.running.bundle_endpoint)


async def test_https_spiffe_shows_the_servers_svid_and_the_newest_bundle(tmp_path: Path) -> None:
    """A renewed SVID is shown, without a restart."""
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        first = await request(endpoint(server), "/", tls=unchecked())
        bundle = SpiffeBundle.parse(TRUST_DOMAIN, first.body)
        assert bundle == await server.bundle()
        assert verify_peer([first.leaf], bundle, now=server.parts.clock()) == server.parts.identity.spiffe_id
        await server.parts.identity.renew()
        second = await request(endpoint(server), "/", tls=unchecked())
        assert second.leaf != first.leaf
        assert verify_peer([second.leaf], bundle, now=server.parts.clock()) == server.parts.identity.spiffe_id


async def test_a_partner_with_the_bundle_of_before_can_fetch_the_one_of_after(tmp_path: Path) -> None:
    """An authority that is replaced at once: the endpoint's SVID verifies by either bundle, for a while."""
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        before = await server.bundle()
        await server.admin.Rotate(pb.RotateRequest(authority=True))
        answer = await request(endpoint(server), "/", tls=unchecked())
        after = SpiffeBundle.parse(TRUST_DOMAIN, answer.body)
        assert after.sequence > before.sequence
        for bundle in (before, after):
            assert verify_peer([answer.leaf], bundle, now=server.parts.clock()) == server.parts.identity.spiffe_id


@pytest.mark.parametrize("step", ["taint", "revoke"])
async def test_an_authority_that_is_not_to_be_trusted_is_not_shown(tmp_path: Path, step: str) -> None:
    """Once an operator says so the endpoint shows an SVID by the new one, and partners need the bundle by hand."""
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        before = await server.bundle()
        old = server.parts.trust.authority.current.x509.id
        await server.admin.Rotate(pb.RotateRequest(authority=True))
        for each in ("taint", "revoke")[: 1 + (step == "revoke")]:
            await server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step=each, id=old))
        answer = await request(endpoint(server), "/", tls=unchecked())
        assert verify_peer([answer.leaf], await server.bundle(), now=server.parts.clock())
        with pytest.raises(RingfenceError):
            verify_peer([answer.leaf], before, now=server.parts.clock())


async def test_https_web_shows_the_web_certificate(tmp_path: Path) -> None:
    """To clients that check the host."""
    web = WebAuthority()
    files = await asyncio.to_thread(web.issue, tmp_path, "127.0.0.1")
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0), files)) as server:
        answer = await request(endpoint(server), "/", tls=trusting(web.root()))
        assert SpiffeBundle.parse(TRUST_DOMAIN, answer.body) == await server.bundle()


async def test_only_the_bundle_is_there_and_only_to_read(tmp_path: Path) -> None:
    """GET of / as application/json; other methods 405, other paths 404, plain HTTP nothing."""
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        answer = await request(endpoint(server), "/", tls=unchecked())
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await request(endpoint(server), "/", tls=unchecked(), method=method)).status == 405
        for path in ("/metrics", "/keys", "/bundle"):
            assert (await request(endpoint(server), path, tls=unchecked())).status == 404
        with pytest.raises(OSError):  # the connection is dropped, one way or another
            await request(endpoint(server), "/")


@pytest.mark.parametrize(
    "flags",
    [
        (*LISTEN, *FILES),
        (*LISTEN, "--bundle-profile", "https_web"),
        (*LISTEN, "--bundle-profile", "https_web", *FILES[:2]),
        ("--bundle-listen", "nonsense"),
    ],
)
def test_profile_and_files_belong_together(flags: tuple[str, ...]) -> None:
    """Nobody is served by another certificate than was meant."""
    with pytest.raises(RingfenceError) as caught:
        config_of(given(*flags))
    assert caught.value.kind is Kind.INVALID


def test_both_profiles_can_be_told() -> None:
    """https_spiffe when nothing is said."""
    address = Address("0.0.0.0", 8445)
    assert config_of(given()).bundle_endpoint is None
    assert config_of(given(*LISTEN)).bundle_endpoint == Web(address)
    web = config_of(given(*LISTEN, "--bundle-profile", "https_web", *FILES)).bundle_endpoint
    assert web == Web(address, (Path("a.pem"), Path("a.key")))
