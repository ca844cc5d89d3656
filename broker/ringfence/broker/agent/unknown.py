"""Keys that no bundle here has: the server is told, seldom, so that nobody waits for a key that a partner just made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.certs.jwt_svid import missing_key
from ringfence.certs.spiffe_id import TrustDomain

PAUSE = 10.0  # seconds between two questions about one trust domain: tokens with made-up keys cost nobody much
PATIENCE = 3.0  # seconds for the server to fetch a bundle and push it


class UnknownKeys:
    """*tell* has the server look for a key of a trust domain; False when it cannot be told now."""

    def __init__(self, tell: Callable[[str, str], bool], *, patience: float = PATIENCE) -> None:
        self._tell = tell
        self._patience = patience
        self._told: dict[TrustDomain, float] = {}  # of the event loop

    async def view_for(self, token: str, watch: Watch, view: View) -> View:
        """*view*, or a newer one with the key that *token* names, once the server has looked for it."""
        missing = missing_key(token, view.bundles.all)
        if missing is None or not self._ask(*missing):
            return view
        domain, kid = missing
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                return await watch.first(lambda newer: _has(newer, domain, kid))
        return view

    def _ask(self, domain: TrustDomain, kid: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._told.get(domain, -PAUSE) + PAUSE or not self._tell(domain.name, kid):
            return False
        self._told[domain] = now  # of domains that are trusted here, so there are few
        return True


def _has(view: View, domain: TrustDomain, kid: str) -> bool:
    bundle = view.bundles.all.get(domain)
    return bool(view.entries) and bundle is not None and kid in bundle.jwt_authorities
