"""The running server: state first, then sockets; rotation while it runs; drained streams at its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ringfence.broker import metrics
from ringfence.broker.address import Address
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import record
from ringfence.broker.config import LOCK, ServerConfig
from ringfence.broker.files import private_folder
from ringfence.broker.http import JSON, Page, Routes, cannot_listen, serve_pages
from ringfence.broker.intent_documents import refused
from ringfence.broker.intent_files import authorship, read_documents
from ringfence.broker.log import log
from ringfence.broker.memory import keep_little
from ringfence.broker.server.admin_lane import admission, guarded, on_network
from ringfence.broker.server.lock import DirectoryLock
from ringfence.broker.server.metered import metered
from ringfence.broker.server.opened import Clock
from ringfence.broker.server.parts import Parts, load
from ringfence.broker.server.upkeep import interval_for, keep_up
from ringfence.broker.status import hidden
from ringfence.broker.version import VERSION
from ringfence.proto.lane import Lane, Method


@dataclass(slots=True)
class Running:
    """A server that serves: where it listens, and its parts."""

    parts: Parts
    listen: Address
    otlp: Address | None
    http: Address | None
    admin_socket: Path
    oidc: Address | None = None
    bundle_endpoint: Address | None = None
    spire: Address | None = None


@dataclass(slots=True)
class _Readiness:
    detail: str = "loading state"
    parts: Parts | None = None


def system_clock() -> datetime:
    """The system's time, UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def running_server(config: ServerConfig, *, clock: Clock = system_clock) -> AsyncIterator[Running]:
    """A server that is ready when the block is entered and drained when it is left.

    Raises RingfenceError for whatever keeps it from starting; then everything it had opened is closed again.
    """
    async with AsyncExitStack() as stack:
        # 1. This folder is ours and no other server's.
        stack.callback((await asyncio.to_thread(_take, config.data_dir)).release)
        # 2. Probes may look from here on: alive, not ready.
        readiness = _Readiness()
        http = await _serve_http(config, readiness, stack)
        # 3. State before streams.
        parts = await load(config, clock)
        stack.callback(parts.audit.close)
        stack.push_async_callback(parts.store.close)
        stack.push_async_callback(parts.servers.close)
        stack.push_async_callback(parts.signing.close)
        if config.intent is not None:
            await _apply(parts, config.intent)
        # 4. Streams.
        listen, otlp = await _listen(config, parts, stack)
        public = (*await _serve_public(config, parts, stack), await _serve_spire(config, parts, stack))
        # 5. Upkeep, which ends first.
        await _start_upkeep(config, parts, stack)
        readiness.detail, readiness.parts = "", parts
        metrics.UP.set(1)
        log.info("serving", listen=str(listen), admin=str(config.admin_path), trust_domain=str(config.trust_domain))
        yield Running(parts, listen, otlp, http, config.admin_path, *public)
        readiness.detail = "shutting down"
        metrics.UP.set(0)
        log.info("stopping")


def _take(data_dir: Path) -> DirectoryLock:
    return DirectoryLock(private_folder(data_dir) / LOCK)


async def _serve_http(config: ServerConfig, readiness: _Readiness, stack: AsyncExitStack) -> Address | None:
    if config.http_listen is None:
        return None
    server = await serve_pages(config.http_listen.host, config.http_listen.port, _routes(readiness))
    stack.callback(server.close)
    return Address(config.http_listen.host, server.sockets[0].getsockname()[1])


async def _apply(parts: Parts, folder: Path) -> None:
    texts = await asyncio.to_thread(read_documents, folder)
    author, commit = await asyncio.to_thread(authorship, folder)
    outcome = await parts.intent.apply(texts, author=author, commit=commit)
    if any(finding.level == "error" for finding in outcome.findings):
        raise refused(outcome.findings)
    detail = {"author": author, "commit": commit, "folder": str(folder)}
    await record(parts.audit, Event("policy.apply", outcome.revision, detail=detail))


async def _listen(config: ServerConfig, parts: Parts, stack: AsyncExitStack) -> tuple[Address, Address | None]:
    # Operators and agents have a lane each, so that a flood on one leaves the other free.
    methods = await asyncio.to_thread(guarded, config, parts)  # keys of issuers may be in files
    hook, mode = admission(config, parts.audit)
    admin = Lane(metered(methods), on_error=hidden, on_connect=hook)
    stack.push_async_callback(admin.drain, config.drain_seconds)
    try:
        await asyncio.to_thread(config.admin_path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        await admin.listen_unix(config.admin_path, mode)
    except OSError as error:
        raise cannot_listen(str(config.admin_path), error, flag="--admin-socket") from error
    otlp = None
    if config.otlp_listen is not None:
        otlp = await _tcp(config, parts, parts.evidence.methods(), ("--otlp-listen", config.otlp_listen), stack)
    shared = parts.methods() | (methods if on_network(config) else {})
    return await _tcp(config, parts, shared, ("--listen", config.listen), stack), otlp


async def _serve_public(
    config: ServerConfig, parts: Parts, stack: AsyncExitStack
) -> tuple[Address | None, Address | None]:
    if config.oidc is None and config.bundle_endpoint is None:
        return None, None
    from ringfence.broker.server.public import serve_bundle, serve_oidc  # most servers have no page for strangers

    return await serve_oidc(config, parts, stack), await serve_bundle(config, parts, stack)


async def _serve_spire(config: ServerConfig, parts: Parts, stack: AsyncExitStack) -> Address | None:
    if config.spire_listen is None:
        return None
    from ringfence.broker.nested.for_spire import serve_spire  # most servers have no SPIRE below

    return await serve_spire(config.spire_listen, parts, stack, drain_seconds=config.drain_seconds)


async def _tcp(
    config: ServerConfig,
    parts: Parts,
    methods: dict[str, Method],
    where: tuple[str, Address],
    stack: AsyncExitStack,
) -> Address:
    flag, address = where
    lane = Lane(metered(methods), on_error=hidden, on_connect=parts.doorkeeper.admit)
    stack.push_async_callback(lane.drain, config.drain_seconds)
    try:
        port = await lane.listen_tcp(address.host, address.port, parts.identity.context)
    except OSError as error:
        raise cannot_listen(str(address), error, flag=flag) from error
    return Address(address.host, port)


async def _start_upkeep(config: ServerConfig, parts: Parts, stack: AsyncExitStack) -> None:
    keep = partial(
        keep_up, parts, retention=config.ledger_retention.total_seconds(), interval=interval_for(config.ca_ttl)
    )
    running = (keep, parts.proxies.run, parts.evidence.run, parts.federation.run, parts.doorkeeper.run)
    shared = parts.revoker.run, partial(parts.servers.run, parts.feed), parts.admitting.run, keep_little
    tasks = [asyncio.create_task(_watched(task)) for task in (*running, *shared)]
    tasks += [asyncio.create_task(_watched(task)) for task in parts.followers()]

    async def end() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(end)


async def _watched(work: Callable[[], Awaitable[None]]) -> None:
    """Run *work*; should it ever fail, that is said at once, not at the end."""
    try:
        await work()
    except Exception as error:
        log.error("a background task failed", task=repr(work), error=repr(error))
        raise


def _routes(readiness: _Readiness) -> Routes:
    def ready() -> Page:
        detail = readiness.detail
        return Page(503, f"{detail}\n".encode()) if detail else Page(200, b"ready\n")

    return {
        "/live": lambda: Page(200, b"alive\n"),
        "/ready": ready,
        "/metrics": lambda: _metrics(readiness.parts),
        "/version": lambda: Page(200, json.dumps({"version": VERSION}).encode(), JSON),
    }


def _metrics(parts: Parts | None) -> Page:
    from prometheus_client import CONTENT_TYPE_LATEST

    from ringfence.broker.server.exported import page_of

    return Page(200, page_of(parts), CONTENT_TYPE_LATEST)
