"""What a server opens before it loads its state: the store, the audit log, its keys, and its seat among the servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from ringfence.broker import events
from ringfence.broker.audit.chain import ACTIVE
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.config import DATABASE, ServerConfig
from ringfence.broker.keys.choice import unlock
from ringfence.broker.server.plugins import signing_of
from ringfence.broker.servers import Servers, holder_of
from ringfence.broker.signing.port import Signing
from ringfence.broker.store.connect import Hold
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.certs.keys.port import KeyManager

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Opened:
    """What is to be closed when the server ends."""

    store: Store
    audit: AuditLog
    keys: KeyManager
    signing: Signing
    servers: Servers


async def open_all(config: ServerConfig, clock: Clock, undo: AsyncExitStack) -> Opened:
    """Open them in their order; raises what any of them raises. *undo* closes what was opened by then."""
    location = config.database or Location.of_file(config.data_dir / DATABASE)
    store = await Store.open(location, Hold.SHARED)
    undo.push_async_callback(store.close)
    audit = await _open_audit(config, clock)
    undo.callback(audit.close)
    unlocked = await asyncio.to_thread(unlock, config.keys, config.data_dir)
    signing = signing_of(config, unlocked)
    undo.push_async_callback(signing.close)
    keys = await asyncio.to_thread(unlocked.open)
    servers = await Servers.enter(
        location, config.data_dir, str(config.listen), store=store, holds=holder_of(keys), clock=clock
    )
    undo.push_async_callback(servers.close)
    return Opened(store, audit, keys, signing, servers)


async def _open_audit(config: ServerConfig, clock: Clock) -> AuditLog:
    rotate = config.audit_rotate_bytes
    audit = await asyncio.to_thread(AuditLog.open, config.data_dir / ACTIVE, clock=clock, rotate_bytes=rotate)
    events.audit_opened(*audit.head, cut_off=audit.repaired)
    return audit
