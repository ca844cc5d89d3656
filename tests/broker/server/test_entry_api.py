"""The admin API's part for entries, by a grpcio client on the real socket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.server.upkeep import look
from ringfence.certs.errors import Kind
from tests.broker.server.harness import ServerUnderTest, failure, running_server
from tests.broker.world import Clock

NAME = "spiffe://example.org/ns/a/sa/"


def entry(name: str, **fields: Any) -> pb.Entry:
    """What an operator writes."""
    return pb.Entry(spiffe_id=NAME + name, **({"selectors": ["unix:uid:1000"]} | fields))


async def apply(server: ServerUnderTest, *pieces: Sequence[pb.Entry], **flags: bool) -> list[tuple[str, str]]:
    """Names and actions of a file sent in *pieces*."""
    requests = [pb.ApplyEntriesRequest(entries=piece, **flags) for piece in pieces]
    call = server.admin.ApplyEntries(iter(requests))
    return [(r.entry.spiffe_id.removeprefix(NAME), r.action) async for answer in call for r in answer.results]


async def test_every_field_comes_back(tmp_path: Path) -> None:
    """As it was given."""
    fields = {
        "x509_ttl": 60,
        "jwt_ttl": 30,
        "dns_names": ["a.example"],
        "hint": "web",
        "expires_at": 4_000_000_000,
        "federates_with": ["b.org", "c.org"],
        "admin": True,
        "downstream": True,
        "store_svid": True,
        "jwt_jti": True,
    }
    async with running_server(tmp_path) as server:
        made = await server.create_entry(NAME + "x", "unix:uid:1", **fields)
        wanted = pb.Entry(spiffe_id=NAME + "x", selectors=["unix:uid:1"], **fields)  # type: ignore[arg-type]
        wanted.id, wanted.parent_id, wanted.origin = made.id, "spiffe://example.org/ringfence/nodes", "api"
        wanted.created_at, wanted.revision = made.created_at, made.revision
        assert made == wanted
        assert made.created_at


async def test_lists_are_filtered_and_counted(tmp_path: Path) -> None:
    """Each filter by itself and all together; selectors are those that an entry has among others."""
    agent = "spiffe://example.org/ringfence/agent/join_token/x"
    async with running_server(tmp_path) as server:
        made = [
            entry("a", hint="web", federates_with=["b.org"], expires_at=3_000_000_000),
            entry("b", parent_id=agent, selectors=["unix:uid:1000", "unix:gid:7"]),
        ]
        await server.admin.CreateEntries(pb.CreateEntriesRequest(entries=made))
        for fields, names in (
            ({}, "ab"),
            ({"spiffe_id": NAME + "a"}, "a"),
            ({"parent_id": agent}, "b"),
            ({"selectors": ["unix:uid:1000"]}, "ab"),
            ({"selectors": ["unix:gid:7", "unix:uid:1000"]}, "b"),
            ({"origin": "api"}, "ab"),
            ({"origin": "team/a"}, ""),
            ({"hint": "web"}, "a"),
            ({"federates_with": "b.org"}, "a"),
            ({"expires_before": 3_000_000_000}, ""),
            ({"expires_before": 3_000_000_001}, "a"),
            ({"hint": "web", "parent_id": agent}, ""),
        ):
            asked = pb.ListEntriesRequest(**fields)  # type: ignore[arg-type]
            found = (await server.admin.ListEntries(asked)).entries
            assert "".join(e.spiffe_id[-1] for e in found) == names, fields
            assert (await server.admin.CountEntries(asked)).count == len(names)


async def test_an_update_is_by_id_and_in_full(tmp_path: Path) -> None:
    """An old revision is refused."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(NAME + "a", "unix:uid:1")
        made.hint = "web"
        done = await server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[made]))
        assert [(r.entry.hint, r.entry.revision, r.action) for r in done.results] == [
            ("web", made.revision + 1, "updated")
        ]
        made.hint = "other"
        error = await failure(server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[made])))
        assert error.kind is Kind.CONFLICT


async def test_a_file_is_one_transaction_however_many_messages_it_takes(tmp_path: Path) -> None:
    """One bad entry in the last message, and nothing of it is done; flags count in the first."""
    async with running_server(tmp_path) as server:
        bad = pb.Entry(spiffe_id="spiffe://other.org/x", selectors=["unix:uid:1"])
        refused = await failure(
            anext(
                aiter(
                    server.admin.ApplyEntries(
                        iter([pb.ApplyEntriesRequest(entries=[entry("a")]), pb.ApplyEntriesRequest(entries=[bad])])
                    )
                )
            )
        )
        assert refused.kind is Kind.INVALID
        assert (await server.admin.CountEntries(pb.ListEntriesRequest())).count == 0
        assert await apply(server, [entry("a")], [entry("b")]) == [("a", "created"), ("b", "created")]
        dry = await apply(server, [entry("b", hint="x")], prune=True, dry_run=True)
        assert dry == [("b", "updated"), ("a", "pruned")]
        assert await apply(server, [entry("a")], [entry("b")]) == [("a", "unchanged"), ("b", "unchanged")]
        assert await apply(server, [entry("b")], prune=True) == [("b", "unchanged"), ("a", "pruned")]
        assert (await server.admin.CountEntries(pb.ListEntriesRequest())).count == 1


async def test_an_end_in_the_past_is_refused(tmp_path: Path) -> None:
    """It would be gone before it was of use."""
    async with running_server(tmp_path) as server:
        error = await failure(server.create_entry(NAME + "a", "unix:uid:1", expires_at=1000))
        assert (error.kind, "ended already" in error.detail) == (Kind.INVALID, True)


async def test_what_has_ended_goes_from_disk_and_memory(tmp_path: Path) -> None:
    """By the server's own upkeep."""
    clock = Clock()
    async with running_server(tmp_path, clock=clock) as server:
        assert server.running is not None
        end = int((clock() + timedelta(minutes=5)).timestamp())
        await server.create_entry(NAME + "a", "unix:uid:1", expires_at=end)
        await look(server.running.parts)
        assert (await server.admin.CountEntries(pb.ListEntriesRequest())).count == 1
        clock.turn(minutes=5)
        await look(server.running.parts)
        assert (await server.admin.CountEntries(pb.ListEntriesRequest())).count == 0


@pytest.mark.parametrize("name", ["spiffe://example.org/{k8s.ns}/x", "spiffe://example.org/ns/{k8s.shoe}"])
async def test_a_template_is_checked(tmp_path: Path, name: str) -> None:
    """As a value, where it is written."""
    async with running_server(tmp_path) as server:
        error = await failure(server.create_entry(name, "unix:uid:1"))
        assert (error.kind, "template" in error.detail) == (Kind.INVALID, True)


async def test_a_rule_is_created_and_listed_by_its_template(tmp_path: Path) -> None:
    """It needs no selector."""
    rule = "spiffe://example.org/ns/{k8s.ns}/sa/{k8s.sa}"
    async with running_server(tmp_path) as server:
        made = await server.create_entry(rule)
        assert made.spiffe_id == rule
        found = (await server.admin.ListEntries(pb.ListEntriesRequest(spiffe_id=rule))).entries
        assert list(found) == [made]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    """Create, update and delete: the same checks and answers, the same entries and revision after as before."""
    async with running_server(tmp_path) as server:
        held = await server.create_entry(NAME + "x", "unix:uid:1")
        revision = server.parts.registry.revision
        create = pb.CreateEntriesRequest(entries=[entry("x", selectors=["unix:uid:1"]), entry("new")], dry_run=True)
        made = (await server.admin.CreateEntries(create)).results
        assert [(r.entry.id, r.action) for r in made] == [(held.id, "unchanged"), ("", "created")]
        changed = pb.Entry(id=held.id, spiffe_id=NAME + "x", selectors=["unix:uid:2"])
        update = await server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[changed], dry_run=True))
        assert [r.action for r in update.results] == ["updated"]
        deleted = await server.admin.DeleteEntries(pb.DeleteEntriesRequest(ids=[held.id], dry_run=True))
        assert list(deleted.deleted) == [held.id]
        assert list((await server.admin.ListEntries(pb.ListEntriesRequest())).entries) == [held]
        assert server.parts.registry.revision == revision
        await server.create_entry(NAME + "y", "unix:uid:1")  # revisions go on without a gap
        assert server.parts.registry.revision == revision + 1


async def test_a_dry_run_fails_as_the_call_itself_would(tmp_path: Path) -> None:
    """The store's own refusals too, which come after every other check."""
    async with running_server(tmp_path) as server:
        await server.create_entry(NAME + "x", "unix:uid:1")
        other = entry("x", selectors=["unix:uid:1"], hint="other")
        error = await failure(server.admin.CreateEntries(pb.CreateEntriesRequest(entries=[other], dry_run=True)))
        assert error.kind is Kind.CONFLICT
        gone = pb.Entry(id="none", spiffe_id=NAME + "x", selectors=["unix:uid:1"])
        error = await failure(server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[gone], dry_run=True)))
        assert error.kind is Kind.NOT_FOUND
