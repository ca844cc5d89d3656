"""A real server that fetches an issuer's keys by HTTPS, and a real Envoy that verifies by them and asks nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import indent
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from ringfence.broker.bell import Bell
from ringfence.broker.server.proxies import ServerProxies
from ringfence.broker.token_keys import AGAIN, EVERY, TokenKeys
from ringfence.certs.revocation import Revocations
from tests.broker.test_https import Pages, pages
from tests.e2e.mesh import Mesh, application, model_of, running_mesh
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec: {match: [{unix.uid: 1002}], serves: [{name: http, port: APP, protocol: http}]}
---
kind: TokenIssuer
metadata: {name: corp, namespace: shared}
spec:
  issuer: https://corp.example
  audiences: [models]
  jwksUri: "URL"
  jwksMaxAge: 1h
  ca: |
CA_PEM
---
kind: Allow
metadata: {name: people, namespace: shared}
spec:
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: registry, port: http}]
  jwt: {issuer: corp}
  owner: ml
  reason: tokens
"""
BOUND = 60.0  # seconds on a busy machine


class World:
    """A registry behind its Envoy, a caller, an issuer's HTTPS server, and a clock that can be set on."""

    def __init__(self, mesh: Mesh, issuer: Pages, at: int) -> None:
        self.mesh, self.issuer, self.at = mesh, issuer, at
        self.ahead = timedelta(0)
        self.keys = TokenKeys(mesh.folder / "keys.json", self.now)

    def now(self) -> datetime:
        """The server's clock."""
        return datetime.now(UTC) + self.ahead

    def publish(self, *keys: ECKey) -> None:
        """These are the issuer's keys."""
        text = json.dumps({"keys": [key.as_dict(private=False) for key in keys]})
        self.issuer.answer = (200, {}, text.encode())

    async def later(self, seconds: float) -> None:
        """Let the server's clock go on, and wake what looks at it."""
        self.ahead += timedelta(seconds=seconds)
        self.keys.want(self.model.issuers.values())

    async def status(self, key: ECKey) -> int:
        """Of a request with a token of that key."""
        said = {"iss": "https://corp.example", "aud": "models", "exp": int(time.time()) + 300}
        token = jwt.encode({"alg": "ES256", "kid": key.kid}, said, key, algorithms=["ES256"])
        context = self.mesh.client("/ns/team-a/sa/trainer")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.at, ssl=context, server_hostname="")
        try:
            writer.write(
                f"GET / HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n".encode()
            )
            return int((await reader.read(4096)).split()[1])
        finally:
            writer.close()

    async def becomes(self, key: ECKey, status: int) -> None:
        """Wait until a token of that key is answered so."""
        end = time.monotonic() + BOUND
        while (found := await self.status(key)) != status:
            assert time.monotonic() < end, found

    model: Any = None


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """All of it, with nothing published yet."""
    async with AsyncExitStack() as stack:
        issuer = stack.enter_context(pages(folder))
        port, app = free_port(), await application(stack)
        text = intent.joined(intent.MESH, intent.TRAINER, RULES)
        text = text.replace("APP", str(app)).replace("URL", issuer.url()).replace("CA_PEM\n", indent(issuer.ca, "    "))
        mesh = await stack.enter_async_context(running_mesh(folder, text))
        here = World(mesh, issuer, port)
        revoked: Any = SimpleNamespace(bell=Bell(), current=Revocations())
        trust: Any = SimpleNamespace(tainted=frozenset(), issuers=frozenset())
        kept: Any = None
        proxies = ServerProxies(mesh.fleet, kept, revoked, trust, Bell(), here.now, here.keys)
        running = asyncio.create_task(proxies.run())
        stack.callback(running.cancel)
        here.model = model_of(text)
        await proxies.apply(here.model)
        await mesh.envoy("shared/registry", inbound={"http": port})
        yield here


async def reachable(port: int) -> None:
    """Wait until something listens there."""
    end = time.monotonic() + BOUND
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def test_keys_rotate_without_an_apply_and_hold_until_they_are_too_old(tmp_path: Path) -> None:
    """New keys verify and old ones no longer; an issuer that is away keeps its last ones for an hour, and then none."""
    first, second, third = (ECKey.generate_key("P-256", {"kid": kid}) for kid in ("1", "2", "3"))
    async with world(tmp_path) as here:
        await reachable(here.at)
        assert await here.status(first) == 403  # nothing is known yet: deny
        here.publish(first)
        await here.later(AGAIN)
        await here.becomes(first, 200)
        assert await here.status(second) == 403

        here.publish(second)
        await here.later(EVERY)
        await here.becomes(second, 200)
        assert await here.status(first) == 403

        here.issuer.answer = (503, {}, b"away")
        await here.later(EVERY)
        await here.later(1800)
        assert await here.status(second) == 200
        await here.later(1800)
        await here.becomes(second, 403)

        here.publish(third)
        await here.later(AGAIN)
        await here.becomes(third, 200)
        assert await here.status(second) == 403
