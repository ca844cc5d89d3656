"""A change of the store and its audit record as one: the record is on disk before the change is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from ringfence.broker.audit.actor import present_actor
from ringfence.broker.audit.journal import SERVER, AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import RingfenceError

T = TypeVar("T")


async def recorded(
    store: Store, audit: AuditLog | None, work: Callable[[Connection], T], say: Callable[[T], Sequence[Event]]
) -> T:
    """What *work* returns, committed, and what *say* makes of it recorded; raises what either raises.

    A record that cannot be written rolls the change back. A change that cannot be committed after its record was
    written is followed by a record that says so.
    """
    actor = present_actor() or SERVER  # the store's thread does not know it
    said: list[Event] = []

    def whole(connection: Connection) -> T:
        done = work(connection)
        events = [replace(event, actor=event.actor or actor) for event in say(done)]
        if audit is not None and events:
            audit.append(events)
            said.extend(events)
        return done

    try:
        return await store.run(whole)
    except Exception as error:
        if audit is not None and said:
            why = error.detail if isinstance(error, RingfenceError) else type(error).__name__
            undone = [replace(event, result=f"undone: {why}", detail={}) for event in said]
            await asyncio.to_thread(audit.append, undone)
        raise


async def record(audit: AuditLog | None, *events: Event) -> None:
    """Record *events* off the loop; raises UNAVAILABLE or EXHAUSTED."""
    if audit is not None:
        actor = present_actor() or SERVER
        await asyncio.to_thread(audit.append, [replace(event, actor=event.actor or actor) for event in events])
