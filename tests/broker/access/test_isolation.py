"""Whatever an editor of team-a asks, in whatever order: the entries and documents of others stay what they are."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.documents import IntentPermit
from ringfence.broker.access.namespaces import namespace_named
from ringfence.broker.access.present import calling
from ringfence.broker.intent import Intent
from ringfence.broker.server.entry_api import EntryApi
from ringfence.broker.store import entries as stored
from ringfence.broker.store.document import Document
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from tests.broker.access.callers import ROOT, TD, editor
from tests.broker.access.test_documents import BASE, MESH, rule, workload
from tests.broker.test_intent import Proxies
from tests.broker.world import World, world

OWN = "team-a"
NAMES = st.sampled_from(
    [f"/ns/{ns}/sa/{name}" for ns in ("team-a", "team-b", "{k8s.ns}") for name in ("x", "y", "root", "{k8s.sa}")]
    + ["/x", "/ns/team-a", "/ns/team-a/ns/team-b/x", "/ns/team-b/ns/team-a/x"]
)
PARENTS = st.sampled_from(
    ["", "/ringfence/server", "/ringfence/agent/join_token/x", "/ns/team-b/nodes", "/ns/team-a/n"]
)
SELECTORS = st.lists(st.sampled_from(["unix:uid:1", "unix:uid:2", "k8s:ns:team-a"]), min_size=1, max_size=2)
IDS = st.integers(0, 7)  # which of the entries that there are
ENTRIES = st.builds(
    lambda path, parent, selectors, which, **fields: (which, path, parent, selectors, fields),
    NAMES,
    PARENTS,
    SELECTORS,
    IDS,
    admin=st.booleans(),
    dns_names=st.sampled_from([[], ["x.team-a"], ["x.team-b"]]),
    hint=st.sampled_from(["", "h"]),
)
DOCUMENTS = st.sampled_from(
    [
        *BASE,
        MESH,
        workload("team-a/web", role="serving"),
        workload("team-a/new"),
        workload("team-b/new"),
        workload("team-b/db", role="data"),
        workload("team-a/root"),
        rule("team-a/in", "team-b/db", "team-a/web"),
        rule("team-a/out", "team-a/web", "team-b/db"),
        rule("team-a/out", "team-a/web", "team-b/db", "Deny"),
        rule("team-b/own", "team-a/web", "team-b/db", "Deny"),
    ]
)


def _changed(gone: int, more: list[str]) -> list[str]:
    """What is in force less one document, and one more."""
    return [text for place, text in enumerate(BASE) if place != gone] + more


MOVES = st.one_of(
    st.tuples(st.just("create"), st.lists(ENTRIES, min_size=1, max_size=2)),
    st.tuples(st.just("update"), st.lists(ENTRIES, min_size=1, max_size=2)),
    st.tuples(st.just("apply"), st.tuples(st.lists(ENTRIES, max_size=2), st.booleans())),
    st.tuples(st.just("delete"), st.lists(IDS, min_size=1, max_size=3)),
    st.tuples(st.just("policy"), st.builds(_changed, st.integers(-1, 2), st.lists(DOCUMENTS, max_size=1))),
)


@dataclass(slots=True)
class _Upload:
    """A call of the client-streaming kind, with its one request."""

    request: Any

    async def receive(self) -> Any:
        """It, then the end."""
        request, self.request = self.request, None
        return request

    async def send(self, _: Any) -> None:
        """The answer is of no interest."""


@dataclass(slots=True)
class _House:
    world: World
    api: EntryApi
    intent: Intent

    async def others(self) -> tuple[list[Any], list[str]]:
        """What is not team-a's, or is an admin's doing in it: entries as stored, documents by meaning."""
        kept = [
            replace(entry, revision=0)
            for entry in await self.world.store.run(stored.every)
            if namespace_named(entry.name) != OWN or entry.admin or entry.dns_names == ("db.team-b",)
        ]
        rules = [r.policy_id for r in self.intent.model.rules] if self.intent.model else []
        documents = [f"{d} {d.hash}" for d in self.intent._documents if d.key.partition("/")[0] != OWN] + [
            each for each in rules if "out" in each
        ]
        return sorted(kept, key=lambda entry: entry.id), documents

    def message(self, drawn: tuple[Any, ...]) -> pb.Entry:
        """An entry as drawn."""
        which, path, parent, selectors, fields = drawn
        parent_id = f"spiffe://{TD}{parent}" if parent else ""
        return pb.Entry(
            id=self.id(which), spiffe_id=f"spiffe://{TD}{path}", parent_id=parent_id, selectors=selectors, **fields
        )

    def id(self, which: int) -> str:
        """The id of one of the entries that there are."""
        ids = sorted(entry.id for entry in self.world.registry.every())
        return ids[which % len(ids)]

    async def make(self, move: str, drawn: Any) -> None:
        """One request."""
        match move:
            case "create":
                await self.api.create(pb.CreateEntriesRequest(entries=map(self.message, drawn)))
            case "update":
                await self.api.update(pb.UpdateEntriesRequest(entries=map(self.message, drawn)))
            case "apply":
                request = pb.ApplyEntriesRequest(entries=map(self.message, drawn[0]), prune=drawn[1])
                await self.api.apply(_Upload(request))  # type: ignore[arg-type]
            case "delete":
                await self.api.delete(pb.DeleteEntriesRequest(ids=map(self.id, drawn)))
            case _:
                await self.intent.apply(documents(drawn), permit=IntentPermit(self.caller()))

    def caller(self) -> Any:
        """The editor, with the names that have rights now."""
        held = [entry.spiffe_id.path for entry in self.world.registry.every() if entry.admin]
        return editor(OWN, privileged=held)


def documents(texts: list[str]) -> list[Document]:
    """One file each."""
    return [
        Document(f"{i}.yaml", f"apiVersion: ringfence.dev/v1alpha1\n{text}".encode()) for i, text in enumerate(texts)
    ]


@asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[_House]:
    async with world(folder, MemoryKeys()) as w:
        intent = Intent(
            TD,
            store=w.store,
            feed=w.feed,
            registry=w.registry,
            proxies=Proxies(),
            clock=w.clock,
            federated=frozenset,
        )
        house = _House(w, EntryApi(w.store, w.feed, w.registry, TD, w.clock), intent)
        named = {"team-a/sa/x": {}, "team-a/sa/root": {"admin": True}, "team-b/sa/x": {}, "team-b/sa/y": {}}
        with calling(ROOT):
            made = [
                pb.Entry(spiffe_id=f"spiffe://{TD}/ns/{name}", selectors=["unix:uid:1"], **fields)  # type: ignore[arg-type]
                for name, fields in named.items()
            ]
            await house.api.create(pb.CreateEntriesRequest(entries=made))
            await intent.apply(documents(BASE))
        yield house


async def _play(moves: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with _house(Path(folder)) as house:
            before = await house.others()
            for move, drawn in moves:
                with calling(house.caller()), suppress(RingfenceError):
                    await house.make(move, drawn)
                assert await house.others() == before, move


@settings(max_examples=40, deadline=None)
@given(st.lists(MOVES, min_size=1, max_size=12))
def test_an_editor_never_changes_what_is_not_its_own(moves: list[tuple[str, Any]]) -> None:
    """Entries of team-b, of no namespace and an admin's in team-a; documents of team-b, and rules that reach it."""
    asyncio.run(_play(moves))
