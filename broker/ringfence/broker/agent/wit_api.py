"""Section 7 of the SPIFFE Workload API, for agents with --feature wit-svid: WIT-SVIDs and their bundles, by push."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ringfence.broker.agent.entry import Entry, unique_hints
from ringfence.broker.agent.requests import asked_id, read_request
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watches import Watches
from ringfence.broker.agent.wits import HeldWit, Wits
from ringfence.broker.agent.workload_api import is_entitled
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.status import Code, Status

_OFF = "the server issues no WIT-SVIDs: it runs without --feature wit-svid"
_Held = tuple[tuple[Entry, HeldWit], ...]


class WitApi:
    """The two RPCs. Every message is the whole state; streams end by Status, never with OK."""

    def __init__(self, watches: Watches, wits: Wits) -> None:
        self._watches = watches
        self._wits = wits

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        calls = {"FetchWITSVID": self._fetch_svids, "FetchWITBundles": self._fetch_bundles}
        return methods_of(workload.DESCRIPTOR, calls)

    async def _fetch_svids(self, call: Call) -> None:
        asked = asked_id(await read_request(call, workload.SECURITY_HEADER))
        shown = _Shown(self._wits, asked)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            async for _ in watch.views(shown.is_whole, shown.key, shown.is_some, shown.narrow):
                await call.send(shown.answer())

    async def _fetch_bundles(self, call: Call) -> None:
        await read_request(call, workload.SECURITY_HEADER)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            async for view in watch.views(is_entitled, lambda view: view.entitled):
                answer = workload.WITBundlesResponse()
                for trust_domain, bundle in view.bundles.all.items():
                    answer.bundles[trust_domain.id] = bundle.wit_jwks().decode()
                await call.send(answer)


class _Shown:
    """What one stream shows: the identities asked for, and what is held for them at the last look."""

    def __init__(self, wits: Wits, asked: SpiffeId | None) -> None:
        self._wits = wits
        self._asked = asked
        self._held: _Held = ()

    def narrow(self, view: View) -> View:
        """The view of the identities that are asked for; raises UNIMPLEMENTED when the server issues none."""
        if self._wits.are_off:
            raise Status(Code.UNIMPLEMENTED, _OFF)
        entries = tuple(entry for entry in view.entries if self._asked in {None, entry.spiffe_id})
        self._held, waits = self._wits.of(entries)
        return replace(view, entries=entries, held=(), waits=waits)

    def is_whole(self, view: View) -> bool:
        """Whether all that can be had is there."""
        return bool(self._held) and not view.waits

    def is_some(self, _: View) -> bool:
        """Whether there is anything to show."""
        return bool(self._held)

    def key(self, _: View) -> object:
        """Equal while the answer would be."""
        return tuple((entry.id, entry.hint, wit.token) for entry, wit in self._held)

    def answer(self) -> Any:
        """WITSVIDResponse: compact token, private JWK (section 7.2.1)."""
        answer = workload.WITSVIDResponse()
        held = {entry.id: wit for entry, wit in self._held}
        for entry, hint in unique_hints(_entries(self._held)):
            wit = held[entry.id]
            answer.svids.add(spiffe_id=str(entry.spiffe_id), wit_svid=wit.token, wit_svid_key=wit.key, hint=hint)
        return answer


def _entries(held: _Held) -> Iterable[Entry]:
    return (entry for entry, _ in held)
