"""The keys of token issuers that documents name by URL: fetched by the server, so that no proxy needs a way there.

A new key of an issuer is taken within a minute, without an apply. While an issuer cannot be reached its last good keys
hold, until they are as old as its document says; from then on none of its tokens is valid.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ringfence.broker import https
from ringfence.broker.bell import Bell
from ringfence.broker.files import write_atomically
from ringfence.broker.log import log
from ringfence.certs.errors import RingfenceError
from ringfence.policy.jwks import check_jwks, usable_keys
from ringfence.policy.tokens import KeySource, TokenIssuer

EVERY, AGAIN = 60.0, 10.0  # seconds until keys are fetched again, after success and after failure
MAX_BYTES = 256 << 10
_SECONDS = 10.0  # for one fetch
_AT_ONCE = 4

Fetch = Callable[[KeySource], bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys as they were fetched; `at` is when, in Unix seconds."""

    jwks: str
    at: float


def fetch(source: KeySource) -> bytes:
    """The key set at its URL; raises OSError, HTTPException or ValueError."""
    return https.get(source.uri, ca_pem=source.ca_pem, seconds=_SECONDS, most=MAX_BYTES)


class TokenKeys:
    """The newest known keys of each source; *path* keeps them over a restart. `bell` rings when `current` changes."""

    def __init__(self, path: Path, clock: Callable[[], datetime], get: Fetch = fetch) -> None:
        self.bell = Bell()
        self._path = path
        self._clock = clock
        self._get = get
        self._issuers: Mapping[str, TokenIssuer] = {}
        self._kept: dict[str, Kept] = {}
        self._due: dict[str, float] = {}  # Unix seconds, by source
        self._wanted = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def load(self) -> None:
        """Take in what was kept; what cannot be read is fetched anew."""
        try:
            text = await asyncio.to_thread(self._path.read_bytes)
            kept = {name: Kept(check_jwks(one["jwks"]), float(one["at"])) for name, one in json.loads(text).items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the kept keys of token issuers cannot be read", path=str(self._path), detail=str(error))
            return
        self._kept = kept

    def want(self, issuers: Iterable[TokenIssuer]) -> None:
        """These are the issuers now; new ones are fetched at once."""
        self._issuers = {issuer.key: issuer for issuer in issuers if issuer.source is not None}
        known = {_name(source) for source in self._sources()}
        self._due = {name: self._due.get(name, 0.0) for name in known}
        self._wanted.set()

    def current(self) -> dict[str, str]:
        """The key sets that are believed now, by the key of their issuer."""
        now = self._clock().timestamp()
        found = {}
        for key, issuer in self._issuers.items():
            source = issuer.source
            kept = self._kept.get(_name(source)) if source is not None else None
            # A clock that was set back makes keys no younger than they are.
            if source is not None and kept is not None and abs(now - kept.at) < source.max_age.total_seconds():
                found[key] = kept.jwks
        return found

    async def run(self) -> None:
        """Fetch what is due, until cancelled."""
        told = self.current()
        while True:
            self._wanted.clear()
            await self.look()
            if (now := self.current()) != told:
                told = now
                self.bell.ring()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Fetch what is due now, a few at a time; a failure is logged and changes nothing."""
        now = self._clock().timestamp()
        due = {_name(source): source for source in self._sources() if self._due[_name(source)] <= now}
        if not due:
            return
        before = dict(self._kept)
        await asyncio.gather(*(self._fetch(name, source) for name, source in due.items()))
        wanted = self._due.keys()
        if self._kept != before:
            await self._keep({name: one for name, one in self._kept.items() if name in wanted})

    async def _fetch(self, name: str, source: KeySource) -> None:
        async with self._slots:
            try:
                jwks = usable_keys((await asyncio.to_thread(self._get, source)).decode())
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = (
                    getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or "no answer"
                )
                log.warning("the keys of a token issuer cannot be fetched", where=source.uri, detail=why)
                self._due[name] = self._clock().timestamp() + AGAIN
                return
        now = self._clock().timestamp()
        self._kept[name] = Kept(jwks, now)
        self._due[name] = now + EVERY

    async def _keep(self, kept: Mapping[str, Kept]) -> None:
        self._kept = dict(kept)
        text = json.dumps({name: asdict(one) for name, one in sorted(kept.items())}).encode()
        try:
            await asyncio.to_thread(write_atomically, self._path, text, mode=0o600)
        except RingfenceError as error:
            log.error("the keys of token issuers are not kept", detail=error.detail, where=error.where)

    def _sources(self) -> list[KeySource]:
        return [issuer.source for issuer in self._issuers.values() if issuer.source is not None]

    def _pause(self) -> float | None:
        """Seconds until the next fetch or the end of keys; None when there is nothing to fetch."""
        now = self._clock().timestamp()
        ends = [
            kept.at + source.max_age.total_seconds()
            for source in self._sources()
            if (kept := self._kept.get(_name(source))) is not None
        ]
        times = [*(self._due[_name(source)] for source in self._sources()), *(end for end in ends if end > now)]
        return max(min(times) - now, 0.05) if times else None


def _name(source: KeySource) -> str:
    """Keys of one URL under another trust are other keys."""
    return hashlib.sha256(f"{source.uri}\n{source.ca_pem}".encode()).hexdigest()
