"""Why a process of this node has its identities, or none: its selectors, and what the nearest entries ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Callers
from ringfence.broker.agent.entry import Entry
from ringfence.broker.attest.named import held
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import NAMES, Selector
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Code, Status

_NEAREST = 5
_ALL_FACTS = frozenset(f"{kind}:{name}" for kind, names in NAMES.items() for name in names)


class Explainer:
    """The call ExplainEntry of the Launcher service."""

    def __init__(self, cache: Cache, callers: Callers) -> None:
        self._cache = cache
        self._callers = callers

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        return methods_of(service_of(admin_pb2, "Launcher"), {"ExplainEntry": self._explain})

    async def _explain(self, call: Call) -> None:
        request: admin_pb2.ExplainEntryRequest | None = await call.receive()
        if request is None or request.pid <= 0:
            raise Status(Code.INVALID_ARGUMENT, "pid must be set")
        with held(request.pid) as process:
            _check_may_ask(process, call.connection.peer.uid)
            caller, failures = await self._callers.look_at(process, _ALL_FACTS)
            caller.check()
        privileged = call.connection.peer.uid in {0, os.geteuid()}
        await call.send(
            admin_pb2.ExplainEntryResponse(
                selectors=sorted(map(str, caller.selectors)),
                failures=[f"{name}: {error}" for name, error in failures.items()],
                entries=self._entries(caller.selectors, privileged=privileged),
            )
        )

    def _entries(self, have: frozenset[Selector], *, privileged: bool) -> Iterator[admin_pb2.EntryMatch]:
        """Those that match, then the nearest; who is not *privileged* hears only of those that share a selector."""
        now = self._cache.clock().timestamp()
        matching = self._cache.book.matching(have)
        for entry in matching:
            yield _match(entry, detail=self._cache.withheld(entry, now) or self._served(entry))
        known = {entry.id.partition("#")[0] for entry in matching}
        near = [
            (entry, missing)
            for entry in self._cache.book.every()
            if entry.id not in known and (privileged or entry.selectors & have)
            for missing in [entry.selectors - have]
        ]
        near.sort(key=lambda pair: (len(pair[1]), -len(pair[0].selectors & have), pair[0].created_at, pair[0].id))
        for entry, missing in near[:_NEAREST]:
            yield _match(entry, missing, detail=_unfilled(entry, have))

    def _served(self, entry: Entry) -> str:
        svid = self._cache.svids.get(entry.id, self._cache.clock())
        return f"served, SVID until {svid.not_after:%Y-%m-%dT%H:%M:%SZ}" if svid else "given when it is asked for"


def _check_may_ask(process: Process, asker: int | None) -> None:
    """Root, the agent's own user and the owner may ask; entries and paths are nobody else's business."""
    if asker not in {0, os.geteuid(), process.uid}:
        raise RingfenceError(
            Kind.DENIED, f"process {process.pid} is another user's", hint="Be its user, the agent's user, or root"
        )


def _match(entry: Entry, missing: frozenset[Selector] | None = None, *, detail: str) -> admin_pb2.EntryMatch:
    template = entry.template.text if entry.template else ""
    return admin_pb2.EntryMatch(
        entry_id=entry.id,
        spiffe_id=f"{entry.spiffe_id}{template}",
        selectors=sorted(map(str, entry.selectors)),
        matches=missing is None,
        missing=sorted(map(str, missing or ())),
        detail=detail,
    )


def _unfilled(entry: Entry, have: frozenset[Selector]) -> str:
    """What keeps a rule from being filled, or empty."""
    if entry.template is None:
        return ""
    try:
        entry.template.path(have)
    except RingfenceError as error:
        return error.detail
    return ""
