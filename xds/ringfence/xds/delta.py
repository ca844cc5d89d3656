"""Incremental discovery on one stream, without I/O: requests and snapshots in, responses out.

The rules are those of Envoy's xds_protocol.rst; a number in a comment is that of its line in section 3.1 of
tests/conformance/lines.toml, whose tests hold it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ringfence.xds.conversation import Conversation
from ringfence.xds.discovery import DeltaRequest, Out, delta_payload
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.subscription import EVERYTHING, Subscription


class DeltaStream(Conversation):
    """One DeltaAggregatedResources or DeltaSecrets call; nonces are as those of `SotwStream`."""

    def receive(self, request: DeltaRequest, snapshot: Snapshot) -> list[Out]:
        """The answers to a request; *snapshot* is the one of the last update.

        Raises EXHAUSTED for too many names, and what `on_missing` raises.
        """
        url, wants = self._asked(request.type_url)
        if wants is None:
            return []
        if request.error is not None:
            wants.refuse(url, request.nonce, request.error, is_single=url in self._dialect.single)
        elif request.nonce:
            wants.accept(request.nonce, is_single=url in self._dialect.single)
        first = not wants.started
        if not (first or request.subscribe or request.unsubscribe) and wants.current == snapshot.type_version(url):
            return self._repay(wants, url, snapshot) if wants.owes else []  # 6: an ACK or a NACK
        had_everything = wants.everything
        forced = self._subscribe(wants, url, request, snapshot)  # 27: whatever the nonce, the subscription changes
        missing = self._missing(url, set(request.subscribe) - {EVERYTHING} - snapshot.named(url).keys())
        wanted = wants.wanted(snapshot, url)
        changed = wants.changed(wanted) | (forced & wanted.keys())
        kept_back = wants.quarantine.names & snapshot.named(url).keys()
        removed = wants.gone(wanted) | (forced - wanted.keys() - kept_back)  # 30, 31: what is missing is said at once
        wants.current = snapshot.type_version(url)
        must = first or not had_everything  # A client that takes all learns that there is nothing, too.
        if not (changed or removed or (wants.everything and must)):
            return []
        return self._send(wants, url, wants.current, [wanted[name] for name in sorted(changed)], removed, missing)

    def update(self, snapshot: Snapshot, epoch: int | None = None, origin: str = "") -> list[Out]:
        """What a new snapshot makes it send: what is referred to before what refers to it, removals last (12)."""
        self._begin(epoch, origin)
        outs: list[Out] = []
        removals: dict[str, set[str]] = {}
        forced: set[tuple[str, str]] = set()
        for url, wants in self._types.items():
            again = {name for kind, name in forced if kind == url}
            version = snapshot.type_version(url)
            if not wants.started or (wants.current == version and not again):
                continue
            wants.current = version
            released = wants.renewed(snapshot.named(url))
            wanted = wants.wanted(snapshot, url)
            changed = wants.changed(wanted) | (released & wanted.keys())
            # 13: what a changed resource needs is sent again, or the client goes on warming it
            forced.update(need for name in changed for need in wanted[name].needs)
            chosen = [wanted[name] for name in sorted(changed | (again & wanted.keys()))]
            removals[url] = wants.gone(wanted) | (released - wanted.keys())
            if chosen:
                outs += self._send(wants, url, version, chosen)
        for url in self._dialect.removals:
            if removals.get(url):
                outs += self._send(self._types[url], url, self._types[url].current, [], removals[url])
        return outs

    def _subscribe(self, wants: Subscription, url: str, request: DeltaRequest, snapshot: Snapshot) -> set[str]:
        """Take the changes; return the names that must be answered even if nothing about them changed (29, 30)."""
        brought: set[str] = set()
        if not wants.started:
            now = snapshot.named(url)
            wants.renewed(now)  # what it refused on an earlier stream may be another one by now
            current = {name: now[name] for name, version in request.initial.items() if _is_current(name, version, now)}
            if url in self._dialect.resumed:  # 33: what it says in the same breath that it holds, it does hold
                brought = set(current)
            wants.held = {name: Resource(name, version, b"") for name, version in request.initial.items()} | current
            named_none = not (request.subscribe or request.unsubscribe)
            wants.everything = named_none and url in self._dialect.everything  # 28: the legacy spelling of `*`
            wants.started = True
        forced = set(request.subscribe) - {EVERYTHING}
        wants.names |= forced
        forced -= brought
        wants.check_size(url)
        if EVERYTHING in request.subscribe:
            wants.everything = url in self._dialect.everything
        if EVERYTHING in request.unsubscribe:
            wants.everything = False
        dropped = wants.names & set(request.unsubscribe)
        wants.names -= dropped
        wants.forget_unwanted()
        return forced | dropped if wants.everything else forced - dropped

    def _repay(self, wants: Subscription, url: str, snapshot: Snapshot) -> list[Out]:
        """What a refusal took along, again: the others of its response, or each for itself to find the culprit."""
        wanted, alone = wants.wanted(snapshot, url), wants.alone
        wants.owes = wants.alone = False
        due = [wanted[name] for name in sorted(wants.changed(wanted))]
        groups = [[one] for one in due] if alone else [due] if due else []
        outs = [out for group in groups for out in self._send(wants, url, wants.current, group)]
        for kind, other, found in self._needed(due, snapshot):
            outs += self._send(other, kind, other.current, found)
        return outs

    def _send(
        self,
        wants: Subscription,
        url: str,
        version: str,
        resources: list[Resource],
        removed: Collection[str] = (),
        missing: tuple[str, ...] = (),
    ) -> list[Out]:
        """One response, or one for each resource; the last says what is gone and missing."""
        wants.lost(removed)
        ours = [one for one in resources if one.any]  # what it brought itself is not ours to send
        *others, last = self._apart(url, ours)
        outs = [self._out(wants, url, version, tuple(group)) for group in others]
        return [*outs, self._out(wants, url, version, tuple(last), tuple(sorted(removed)), missing)]

    def _out(
        self,
        wants: Subscription,
        url: str,
        version: str,
        resources: tuple[Resource, ...],
        gone: tuple[str, ...] = (),
        missing: tuple[str, ...] = (),
    ) -> Out:
        nonce = self._nonce()
        wants.sent(nonce, version, resources)
        return Out(url, nonce, version, delta_payload(url, nonce, version, resources, gone, missing, self._origin))


def _is_current(name: str, version: str, now: Mapping[str, Resource]) -> bool:
    """Whether that is how it is *now*."""
    return name in now and now[name].version == version
