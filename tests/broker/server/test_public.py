"""What a server shows to strangers: OIDC discovery, as those who verify tokens by it see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jwt
import pytest

from ringfence.broker.address import Address
from ringfence.broker.cli.server import run
from ringfence.broker.config import Web
from ringfence.broker.server.main import config_of
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import Node
from tests.broker.web import WebAuthority, request, trusting
from tests.ports import free_port


def given(*flags: str) -> dict[str, Any]:
    """What `ringfence server run` is told: what it cannot do without, and *flags*."""
    needed = ("--trust-domain", "example.org", "--data-dir", "data", "--listen", "127.0.0.1:0")
    return run.make_context("run", [*needed, *flags]).params


async def token_of(server: ServerUnderTest, audience: str) -> str:
    """A JWT-SVID, as an agent gets it."""
    node = Node(server.address, server.bundle_pem)
    await node.attest(await server.token())
    entry = await server.create_entry("spiffe://example.org/ns/a/sa/trainer", "unix:uid:1")
    async with node.connected() as stream:
        await stream.say(jwt={"id": 1, "entry_id": entry.id, "audience": [audience]})
        token: str = (await stream.hear("jwt")).token
        return token


def verify(issuer: str, token: str, audience: str) -> dict[str, Any]:
    """What PyJWT makes of *token*, with keys that it fetches itself by way of the metadata."""
    with urlopen(f"{issuer}/.well-known/openid-configuration", timeout=30) as answer:  # noqa: S310  # a loopback address
        metadata = json.load(answer)
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    algorithms = metadata["id_token_signing_alg_values_supported"]
    found: dict[str, Any] = jwt.decode(
        token, key.key, algorithms=algorithms, audience=audience, issuer=metadata["issuer"]
    )
    return found


async def test_a_service_that_knows_no_spiffe_takes_our_tokens(tmp_path: Path) -> None:
    """It is told the issuer and nothing else; a token after a rotation verifies by the keys as they then are."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}/cluster-a"
    async with running_server(tmp_path, oidc=Web(Address("127.0.0.1", port)), oidc_issuer=issuer) as server:
        claims = await asyncio.to_thread(verify, issuer, await token_of(server, "mlflow"), "mlflow")
        assert (claims["iss"], claims["sub"]) == (issuer, "spiffe://example.org/ns/a/sa/trainer")
        await server.parts.trust.replace(lead_seconds=0)
        assert await asyncio.to_thread(verify, issuer, await token_of(server, "mlflow"), "mlflow")
        with pytest.raises(jwt.InvalidAudienceError):
            await asyncio.to_thread(verify, issuer, await token_of(server, "mlflow"), "another")


async def test_only_the_two_documents_are_there_and_only_to_read(tmp_path: Path) -> None:
    """application/json; no metrics, no health, and no page of another issuer."""
    options = {"oidc": Web(Address("127.0.0.1", 0)), "oidc_issuer": "https://oidc.example.org"}
    async with running_server(tmp_path, **options) as server:
        assert server.running is not None
        address = str(server.running.oidc)
        for path in ("/.well-known/openid-configuration", "/keys"):
            answer = await request(address, path)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert (await request(address, path, method="POST")).status == 405
        for path in ("/", "/metrics", "/ready", "/cluster-a/keys"):
            assert (await request(address, path)).status == 404


async def test_it_speaks_tls_with_files_and_takes_a_renewed_certificate(tmp_path: Path) -> None:
    """To a client that checks host names."""
    web = WebAuthority()
    files = await asyncio.to_thread(web.issue, tmp_path, "localhost", "127.0.0.1")
    options = {"oidc": Web(Address("127.0.0.1", 0), files), "oidc_issuer": "https://oidc.example.org"}
    async with running_server(tmp_path, **options) as server:
        assert server.running is not None
        answer = await request(str(server.running.oidc), "/keys", tls=trusting(web.root()))
        assert answer.status == 200


async def test_without_an_issuer_nothing_changes(tmp_path: Path) -> None:
    """No listener, no `iss`."""
    async with running_server(tmp_path) as server:
        assert server.running is not None
        assert server.running.oidc is None
        claims = jwt.decode(await token_of(server, "a"), options={"verify_signature": False})
        assert "iss" not in claims


ISSUER = ("--oidc-issuer", "https://oidc.example.org")
LISTEN = ("--oidc-listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (LISTEN, "needs --oidc-issuer"),
        (("--oidc-issuer", "http://oidc.example.org"), "no https URL"),
        ((*LISTEN, "--oidc-issuer", "http://oidc.example.org"), "no https URL"),
        ((*ISSUER, "--oidc-listen", "0.0.0.0:8080"), "this machine only"),
        ((*ISSUER, *LISTEN, "--oidc-cert", "a"), "come together"),
        ((*ISSUER, *LISTEN, "--oidc-key", "a"), "come together"),
        ((*ISSUER, "--oidc-listen", "nonsense"), "HOST:PORT"),
    ],
)
def test_what_cannot_be_served_safely_is_refused_at_start(flags: tuple[str, ...], words: str) -> None:
    """Plain HTTP beyond this machine, or half of what TLS needs."""
    with pytest.raises(RingfenceError) as caught:
        config_of(given(*flags))
    assert caught.value.kind is Kind.INVALID
    assert words in str(caught.value)


def test_an_issuer_may_be_served_by_something_else() -> None:
    """Then tokens carry `iss` and nothing is listened on."""
    config = config_of(given(*ISSUER))
    assert (config.oidc, config.oidc_issuer) == (None, "https://oidc.example.org")
    assert config_of(given(*ISSUER, *LISTEN)).oidc == Web(Address("127.0.0.1", 0))
    files = ("--oidc-cert", "a.pem", "--oidc-key", "a.key")
    listen = ("--oidc-listen", "0.0.0.0:8444")
    assert config_of(given(*ISSUER, *listen, *files)).oidc == Web(
        Address("0.0.0.0", 8444), (Path("a.pem"), Path("a.key"))
    )
