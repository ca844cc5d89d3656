"""State-of-the-world discovery on one stream, without I/O: requests and snapshots in, responses out.

The rules are those of Envoy's xds_protocol.rst; a number in a comment is that of its line in section 3.1 of
tests/conformance/lines.toml, whose tests hold it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.xds.conversation import Conversation
from ringfence.xds.discovery import Out, SotwRequest, sotw_payload
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.subscription import EVERYTHING, Subscription

_WITHOUT = "~"  # after a version: of a whole state without what the client refuses


class SotwStream(Conversation):
    """One StreamAggregatedResources or StreamSecrets call.

    Equal histories give equal bytes. Whoever drives many streams passes a growing `epoch` with each snapshot: nonces
    count from it, so that streams with different histories get equal bytes for equal changes too.
    """

    def receive(self, request: SotwRequest, snapshot: Snapshot) -> list[Out]:
        """The answers to a request; *snapshot* is the one of the last update.

        Raises EXHAUSTED for too many names, and what `on_missing` raises.
        """
        url, wants = self._asked(request.type_url)
        if wants is None:
            return []
        self._note_verdict(wants, url, request)
        if request.nonce and wants.nonce and request.nonce != wants.nonce:  # 22: a fresher request follows
            return []
        first = not wants.started
        if first:
            wants.renewed(snapshot.named(url))  # what it refused on an earlier stream may be another one by now
        added = self._subscribe(wants, url, request.names)
        if not (first or added) and wants.current == snapshot.type_version(url):
            return self._repay(wants, url, snapshot) if wants.owes else []  # 6: an ACK, a NACK, or names dropped
        missing = self._missing(url, added - {EVERYTHING} - snapshot.named(url).keys())
        return self._answer(wants, url, snapshot, added, missing, must=first or bool(added))

    def update(self, snapshot: Snapshot, epoch: int | None = None, origin: str = "") -> list[Out]:
        """What a new snapshot makes it send: what is referred to before what refers to it, removals last (12)."""
        self._begin(epoch, origin)
        outs: list[Out] = []
        forced: set[tuple[str, str]] = set()
        retire: list[str] = []
        for url, wants in self._types.items():
            if not wants.started:
                continue
            again = {name for kind, name in forced if kind == url}
            if wants.current == snapshot.type_version(url) and not again:
                continue
            released = wants.renewed(snapshot.named(url))
            wanted = wants.wanted(snapshot, url)
            changed = wants.changed(wanted) | (released & wanted.keys())
            # 13: what a changed resource needs is sent again, or the client goes on warming it
            forced.update(need for name in changed for need in wanted[name].needs)
            if url in self._dialect.held_back and wants.gone(wanted):
                retire.append(url)
                wanted = {**{name: wants.held[name] for name in wants.gone(wanted)}, **wanted}
                if changed:
                    outs += self._send(wants, url, snapshot.type_version(url) + "+", wanted)
                continue
            wants.current = snapshot.type_version(url)
            outs += self._push(wants, url, snapshot, wanted, changed | (again & wanted.keys()), must=bool(released))
        for url in retire:
            wants = self._types[url]
            wants.current = snapshot.type_version(url)
            outs += self._send(wants, url, wants.current, wants.wanted(snapshot, url))
        return outs

    def _subscribe(self, wants: Subscription, url: str, names: tuple[str, ...]) -> set[str]:
        """Take the complete new list (17) and say which names are new."""
        listed = set(names)
        if wants.started and listed == wants.names:
            return set()
        may_have_all = url in self._dialect.everything
        # 20: all, when nothing was ever named or by `*`; an empty list after a name was given is nothing
        legacy = (
            may_have_all and not listed and (not wants.started or (wants.everything and EVERYTHING not in wants.names))
        )
        added = listed - wants.names if wants.started else listed
        wants.started = True
        wants.names = listed
        wants.check_size(url)
        wants.everything = legacy or (may_have_all and EVERYTHING in listed)
        wants.forget_unwanted()
        return added

    def _answer(
        self,
        wants: Subscription,
        url: str,
        snapshot: Snapshot,
        added: set[str],
        missing: tuple[str, ...],
        *,
        must: bool,
    ) -> list[Out]:
        wanted = wants.wanted(snapshot, url)
        changed = wants.changed(wanted) | (added & wanted.keys())  # 21: asked anew, answered anew
        wants.current = snapshot.type_version(url)
        if url in self._dialect.whole and must:
            return self._send(wants, url, wants.current, wanted, missing)  # 18: empty says that there is none
        if missing:
            part = {name: wanted[name] for name in wanted if name in changed}
            return self._send(wants, url, wants.current, part, missing)
        return self._push(wants, url, snapshot, wanted, changed)

    def _push(
        self,
        wants: Subscription,
        url: str,
        snapshot: Snapshot,
        wanted: Mapping[str, Resource],
        changed: set[str],
        *,
        must: bool = False,
    ) -> list[Out]:
        version = snapshot.type_version(url)
        if url in self._dialect.whole:
            return self._send(wants, url, version, wanted) if changed or must or wants.gone(wanted) else []
        part = {name: resource for name, resource in wanted.items() if name in changed}
        return self._send(wants, url, version, part) if part else []  # 6, 19: nothing new, nothing sent

    def _repay(self, wants: Subscription, url: str, snapshot: Snapshot) -> list[Out]:
        """What a refusal took along, again: the others of its response, or each for itself to find the culprit."""
        wanted, alone = wants.wanted(snapshot, url), wants.alone
        wants.owes = wants.alone = False
        due = wants.changed(wanted)
        if url in self._dialect.whole or not alone:  # what the refused state no longer had is to go as well
            outs = self._push(wants, url, snapshot, wanted, due, must=True)
        else:
            outs = [out for name in sorted(due) for out in self._push(wants, url, snapshot, wanted, {name})]
        for kind, other, found in self._needed([wanted[name] for name in sorted(due)], snapshot):
            outs += self._send(other, kind, snapshot.type_version(kind), {one.name: one for one in found})
        return outs

    def _send(
        self,
        wants: Subscription,
        url: str,
        version: str,
        resources: Mapping[str, Resource],
        missing: tuple[str, ...] = (),
    ) -> list[Out]:
        """One response, or one for each resource; the last says what is missing."""
        if url in self._dialect.whole:
            version += _WITHOUT if wants.quarantine else ""
            wants.lost(wants.held.keys() - resources.keys())
        *others, last = self._apart(url, list(resources.values()))
        outs = [self._out(wants, url, version, tuple(group)) for group in others]
        return [*outs, self._out(wants, url, version, tuple(last), missing)]

    def _out(
        self,
        wants: Subscription,
        url: str,
        version: str,
        resources: tuple[Resource, ...],
        missing: tuple[str, ...] = (),
    ) -> Out:
        nonce = self._nonce()
        wants.sent(nonce, version, resources)
        return Out(url, nonce, version, sotw_payload(url, nonce, version, resources, missing, self._origin))

    def _note_verdict(self, wants: Subscription, url: str, request: SotwRequest) -> None:
        """7: a NACK is a request with an error; 11: an ACK names the version that the response of its nonce had."""
        if request.error is not None:
            is_whole, is_single = url in self._dialect.whole, url in self._dialect.single
            wants.refuse(url, request.nonce, request.error, is_whole=is_whole, is_single=is_single)
        elif request.nonce in wants.unanswered and wants.unanswered[request.nonce][0] == request.version:
            wants.accept(request.nonce, is_single=url in self._dialect.single)
