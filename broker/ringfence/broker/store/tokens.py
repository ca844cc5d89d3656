"""Join tokens on disk: their hash only, used at most once."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, delete, select, update

from ringfence.broker.store.schema import tokens
from ringfence.certs.errors import Kind, RingfenceError

_KEPT = 24 * 3600  # seconds past its end that a token is remembered, to tell "expired" from "unknown"


def token_hash(token: str) -> str:
    """How a token is known once handed out (SHA-256, hex); the token itself is never stored or logged."""
    return hashlib.sha256(token.encode()).hexdigest()


def add(connection: Connection, token: str, *, expires_at: int, now: int) -> None:
    """Remember *token* until *expires_at* (Unix seconds), and forget those long past."""
    connection.execute(delete(tokens).where(tokens.c.expires_at < now - _KEPT))
    connection.execute(tokens.insert().values(hash=token_hash(token), expires_at=expires_at))


def use(connection: Connection, token: str, now: int) -> str:
    """Take *token*, once and for all, in this transaction; its hash. Raises UNAUTHENTICATED saying why not.

    One UPDATE decides, so of any number of racing agents exactly one has it.
    """
    known = tokens.c.hash == token_hash(token)
    taken = connection.execute(
        update(tokens).where(known, tokens.c.used_at.is_(None), tokens.c.expires_at > now).values(used_at=now)
    )
    if taken.rowcount != 1:
        row = connection.execute(select(tokens.c.used_at).where(known)).one_or_none()
        raise RingfenceError(Kind.UNAUTHENTICATED, _why(row), hint="Run `ringfence token generate` for a new one")
    return token_hash(token)


def _why(row: object) -> str:
    if row is None:
        return "this join token is not known here"
    used_at: int | None = getattr(row, "used_at", None)
    return "this join token has expired" if used_at is None else "this join token was used already"
