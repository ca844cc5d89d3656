"""A cache with an authority behind it, and streams that watch it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Caller
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.broker.agent.watches import Watches
from ringfence.broker.agent.workload_api import has_svids
from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.status import Code, Status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
UID = Selector("unix", "uid:1")
HASH = Selector("unix", "sha256:" + "0" * 64)
PROCESS = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)


class FakeCaller(Caller):
    """A caller whose process ends when the test says so."""

    gone = False

    def check(self) -> None:
        """As procfs.check, by the test's word."""
        if self.gone:
            raise RingfenceError(Kind.DENIED, "gone")


@dataclass
class FakeCallers:
    """Attests anew by adding what is now wanted."""

    again_for: list[Caller] = field(default_factory=list)

    async def again(self, caller: Caller) -> Caller:
        """The same process with a hash."""
        self.again_for.append(caller)
        return FakeCaller(PROCESS, frozenset({UID, HASH}), frozenset({"unix:uid", "unix:sha256"}), LaunchAttestor())


class World:
    """A cache with an authority behind it, and watches."""

    def __init__(self, *, hold: float = 5.0) -> None:
        self.authority = Authority.create(TrustDomain("example.org"), MemoryKeys(), now=NOW)
        self.cache = Cache(self.authority.bundle(1), clock=lambda: NOW)
        self.callers = FakeCallers()
        self.watches = Watches(self.cache, self.callers, hold=hold)  # type: ignore[arg-type]
        self.cache.listen(self.watches)
        self.caller = FakeCaller(PROCESS, frozenset({UID}), frozenset({"unix:uid"}), LaunchAttestor())
        self.update()

    def update(self, *entries: agent_pb2.Entry, **fields: Any) -> None:
        """Entries pushed by the server."""
        self.cache.on_entries(agent_pb2.EntriesUpdate(upserts=entries, **fields))

    def issue(self) -> list[str]:
        """Answer all that the cache needs; the ids of the entries."""
        needs = self.cache.take_needs()
        for entry in needs:
            key = new_key()
            chain = self.authority.issue_x509(entry.spiffe_id, key.public_key(), now=NOW, ttl=timedelta(hours=1))
            self.cache.put(entry, HeldSvid.of(chain, key, entry.spiffe_id, 0.0))
        return [entry.id for entry in needs]


def pushed(entry_id: str, *selectors: Selector, **fields: Any) -> agent_pb2.Entry:
    """An entry as the server pushes it: for uid 1, where no selectors are given."""
    texts = [str(selector) for selector in selectors or (UID,)]
    return agent_pb2.Entry(id=entry_id, spiffe_id=f"spiffe://example.org/{entry_id}", selectors=texts, **fields)


def views_of(watch: Watch) -> AsyncIterator[View]:
    """Its views once their SVIDs have come, as the Workload API has them."""
    return watch.views(has_svids, lambda view: view.key)


def ids_of(view: View) -> list[str]:
    """The entries that it has an SVID for."""
    return [entry.id for entry, _ in view.held]


async def end_of(views: AsyncIterator[View]) -> Code:
    """How the stream ends, instead of with another view."""
    with pytest.raises(Status) as caught:
        await anext(views)
    return caught.value.code
