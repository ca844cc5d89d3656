"""The keys of an OIDC issuer: kept for an hour, asked for again when one is new, never more often than every 10 s."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.oidc import DISCOVERY_PATH, is_loopback

MAX_AGE = 3600.0  # seconds that keys are believed without looking again
MIN_PAUSE = 10.0  # seconds between two looks, however many tokens ask
MAX_BYTES = 1 << 20
_PATIENCE = 10.0  # seconds for one look

Source = Callable[[], Awaitable[KeySet]]


@dataclass(slots=True)
class IssuerKeys:
    """The newest known keys of one issuer; `monotonic` gives seconds."""

    source: Source
    monotonic: Callable[[], float] = time.monotonic
    _keys: KeySet | None = None
    _fresh_at: float = float("-inf")
    _looked_at: float = float("-inf")
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def find(self, kid: str) -> KeySet | None:
        """The keys, in which *kid* is if the issuer has it; raises UNAVAILABLE when that cannot be told."""
        async with self._turn:
            now = self.monotonic()
            known = self._keys if now - self._fresh_at < MAX_AGE else None
            # 1. A key that is known and fresh needs no look.
            if known is not None and any(key.kid == kid for key in known.keys):
                return known
            # 2. Looks are rare, so that made-up key ids cost the issuer nothing.
            if now - self._looked_at >= MIN_PAUSE:
                self._looked_at = now
                known = self._keys = await self.source()
                self._fresh_at = now
            # 3. Without fresh keys nothing is believed.
            if known is None:
                raise RingfenceError(
                    Kind.UNAVAILABLE, "the keys of the token's issuer are not known now", hint="Try again in 10 s"
                )
            return known


def from_file(path: Path) -> Source:
    """Keys in a file, read again when a key is new."""

    async def read() -> KeySet:
        return await asyncio.to_thread(read_keys, path)

    return read


def read_keys(path: Path) -> KeySet:
    """The JWK set in *path*; raises INVALID."""
    try:
        return _key_set(path.read_bytes())
    except OSError as error:
        raise RingfenceError(Kind.INVALID, f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError:
        raise RingfenceError(Kind.INVALID, "it is no JWK set of public keys", where=str(path)) from None


def from_discovery(issuer: str, roots: Path | None) -> Source:
    """Keys where the issuer's discovery document says (OpenID Connect Discovery 1.0 section 4)."""

    async def look() -> KeySet:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.to_thread(_discover, issuer, roots)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or "no answer"
            raise RingfenceError(
                Kind.UNAVAILABLE, f"the keys of the token's issuer cannot be had: {why}", where=issuer
            ) from None

    return look


def _discover(issuer: str, roots: Path | None) -> KeySet:
    document = json.loads(_get(issuer.removesuffix("/") + DISCOVERY_PATH, roots))
    # 1. The document is of the very issuer (section 4.3), or another one could speak for it.
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ValueError("its discovery document is of another issuer")
    # 2. Keys come as safely as the document did.
    return _key_set(_get(str(document.get("jwks_uri", "")), roots))


def _get(url: str, roots: Path | None) -> bytes:
    """One GET without redirects; raises OSError, HTTPException or ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=roots)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_PATIENCE, context=context)
    elif parts.scheme == "http" and is_loopback(host):
        connection = http.client.HTTPConnection(host, parts.port, timeout=_PATIENCE)
    else:
        raise ValueError("its keys are not at an https URL")
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        answer = connection.getresponse()
        body = answer.read(MAX_BYTES + 1)
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ValueError(f"it answers with HTTP status {answer.status}")
    if len(body) > MAX_BYTES:
        raise ValueError("its answer is too long")
    return body


def _key_set(text: bytes) -> KeySet:
    """The keys that we can read, of those that may be published; raises ValueError."""
    found: Any = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("it is no JWK set")  # noqa: TRY004  # one sort of failure for whoever fetches
    kept = []
    for each in found["keys"]:
        # A key of a kind that we do not know is another reader's (RFC 7517 section 5); a shared secret is nobody's.
        if isinstance(each, dict) and each.get("kty") in {"RSA", "EC", "OKP"}:
            try:
                kept += KeySet.import_key_set({"keys": [each]}).keys
            except (JoseError, ValueError):
                continue
    return KeySet(kept)
