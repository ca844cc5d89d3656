"""Keeps a server in step with the one above, by what the agent of that one pushes: roots, keys, and who signs."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

from ringfence.broker.agent.fetching import messages
from ringfence.broker.bell import Bell
from ringfence.broker.log import log
from ringfence.broker.nested.above import Above, identity_in
from ringfence.broker.svidfiles.writer import Pauses
from ringfence.broker.trust import Trust
from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.errors import RingfenceError
from ringfence.certs.shared import spki_of
from ringfence.certs.slot_state import JWT, X509
from ringfence.proto import workload

_AGAIN = 60.0  # seconds after which a key that is not shown above is published once more


class Follower:
    """`run` lasts until it is cancelled; nothing that fails above takes anything away here."""

    def __init__(
        self,
        trust: Trust,
        bell: Bell,
        renew_own: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        assert isinstance(trust.authority.upstream, Above)  # noqa: S101  # for the type checker
        self._above = trust.authority.upstream
        self._trust = trust
        self._bell = bell
        self._renew_own = renew_own
        self._clock = clock
        self._roots: tuple[bytes, ...] | None = None
        self._keys: dict[str, PublicKey] | None = None
        self._issuer = ""  # whoever signed our SVID
        self._followed = ""  # the issuer that our authority was last brought under
        self._sent: dict[str, float] = {}  # keys, and when they were published (of the event loop)

    async def run(self) -> None:
        """Follow both streams, and do what follows from them and from our own changes."""
        with self._bell.listen() as changed:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow("FetchX509SVID", workload.X509SVIDRequest(), self._take_x509, changed))
                tasks.create_task(
                    self._follow("FetchJWTBundles", workload.JWTBundlesRequest(), self._take_jwt, changed)
                )
                await self._keep_settled(changed)

    async def _follow(self, method: str, asked: Any, take: Callable[[Any], None], changed: asyncio.Event) -> None:
        pauses = Pauses(random.random)
        while True:
            try:
                async with aclosing(messages(self._above.choice.socket, method, asked)) as answers:
                    async for answer in answers:
                        take(answer)
                        changed.set()
                        pauses.reset()
            except RingfenceError as error:
                pause = pauses.next()
                log.warning("no news from above", of=method, error=str(error), retry_in=round(pause, 1))
                await asyncio.sleep(pause)

    def _take_x509(self, answer: Any) -> None:
        svid, bundle = identity_in(answer, self._trust.bundle.trust_domain, self._above.choice)
        self._roots, self._issuer = bundle.x509_authorities, svid.authority

    def _take_jwt(self, answer: Any) -> None:
        domain = self._trust.bundle.trust_domain
        self._keys = keys_in(answer.bundles.get(domain.id, b'{"keys":[]}'), domain)

    async def _keep_settled(self, changed: asyncio.Event) -> None:
        pauses = Pauses(random.random)
        while True:
            changed.clear()
            pause: float | None = None
            try:
                pause = await self._settle()
                pauses.reset()
            except RingfenceError as error:
                pause = pauses.next()
                log.warning("not in step with the server above", error=str(error), retry_in=round(pause, 1))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()

    async def _settle(self) -> float | None:
        """Do what is to be done; seconds after which to look again, whatever happens."""
        # 1. What is trusted above is trusted here.
        await self._trust.hear(roots=self._roots, keys=self._keys)
        # 2. What signs here is known above.
        waiting = await self._publish()
        # 3. Whoever signed our authority may be gone soon, once another one signs above.
        await self._follow_issuer()
        return _AGAIN if waiting else None

    async def _publish(self) -> bool:
        """Publish what is not shown above; whether anything has yet to be."""
        if self._keys is None:
            return False
        now = asyncio.get_running_loop().time()
        missing = self._missing(self._keys)
        for kid, (key, ends) in missing.items():
            if now >= self._sent.get(kid, -_AGAIN) + _AGAIN:
                await self._above.send(kid, spki_of(key), ends)
                self._sent[kid] = now
        self._sent = {kid: at for kid, at in self._sent.items() if kid in missing}
        return bool(missing)

    def _missing(self, shown: dict[str, PublicKey]) -> dict[str, tuple[PublicKey, datetime]]:
        """Keys of ours and of servers below that are not shown above, and withdrawn ones that are, with their ends."""
        authority, now = self._trust.authority, self._clock()
        found: dict[str, tuple[PublicKey, datetime]] = {
            one.kid: (one.public_key, one.not_after) for one in authority.jwt.every()
        }
        found |= {one.kid: (one.public_key, one.not_after) for one in authority.shared.below}
        missing = {kid: each for kid, each in found.items() if kid not in shown and each[1] > now}
        gone = {kid: (shown[kid], now) for kid in authority.shared.withdrawn if kid in shown}
        return missing | gone

    async def _follow_issuer(self) -> None:
        """Have our authority signed anew when another one signs above; once for each, should it never match."""
        line, issuer = self._trust.authority.x509, self._issuer
        if not issuer or issuer in {self._followed, line.current.issuer_id}:
            return
        log.info("another authority signs above", issuer=issuer, before=line.current.issuer_id)
        if line.next is None or line.next.issuer_id != issuer:
            line.next = None  # it never signed, and is under the one before too
            await self._trust.take(X509, "prepare")
        await self._trust.take(X509, "activate")
        await self._renew_own()
        self._followed = issuer


def keys_in(jwks: bytes, trust_domain: Any) -> dict[str, PublicKey]:
    """The JWT-SVID keys of a Workload API's JWKS, in which SPIRE names no `use`; raises INVALID."""
    try:
        keys = [{"use": f"{JWT}-svid", **key} for key in json.loads(jwks)["keys"]]
    except (ValueError, KeyError, TypeError):
        keys = None
    return dict(SpiffeBundle.parse(trust_domain, json.dumps({"keys": keys}).encode()).jwt_authorities)
