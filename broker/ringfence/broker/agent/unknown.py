"""Keys that no bundle here has: the server is asked, seldom, so that nobody waits for a key that was just made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.certs.jwt_svid import missing_key
from ringfence.certs.spiffe_id import TrustDomain

PAUSE = 10.0  # seconds between two questions about one trust domain: tokens with made-up keys cost nobody much
PATIENCE = 3.0  # seconds for the server to fetch a bundle, if it is not ours, and push it


class UnknownKeys:
    """*tell* has the server look for a key of a trust domain, ours too; False when it cannot be told now."""

    def __init__(self, tell: Callable[[str, str], bool], *, patience: float = PATIENCE) -> None:
        self._tell = tell
        self._patience = patience
        self._told: dict[TrustDomain, float] = {}  # of the event loop; of domains that are trusted here, so few

    async def view_for(self, token: str, watch: Watch, view: View) -> View:
        """*view*, or a newer one with the key that *token* names, once the server has looked for it."""
        missing = missing_key(token, view.bundles.all)
        if missing is None or (until := self._asked(*missing)) is None:
            return view
        domain, kid = missing
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                return await watch.first(lambda newer: _has(newer, domain, kid))
        return view

    def look_for(self, domain: TrustDomain) -> None:
        """Have a key of *domain* looked for that nobody waits for, and that nobody can name; as seldom as any other."""
        self._asked(domain, "")

    def _asked(self, domain: TrustDomain, kid: str) -> float | None:
        """Until when an answer may come; None when nothing is or can be asked now.

        Whoever misses a key while a question about its trust domain is open waits for that one's answer.
        """
        now = asyncio.get_running_loop().time()
        told = self._told.get(domain)
        if told is not None and now < told + self._patience:
            return told + self._patience
        if (told is not None and now < told + PAUSE) or not self._tell(domain.name, kid):
            return None
        self._told[domain] = now
        return now + self._patience


def _has(view: View, domain: TrustDomain, kid: str) -> bool:
    bundle = view.bundles.all.get(domain)
    return bool(view.entries) and bundle is not None and kid in bundle.jwt_authorities
