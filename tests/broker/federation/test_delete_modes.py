"""What becomes of entries when a bundle goes: refused, dissociated or deleted, as SPIRE has it."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from tests.broker.federation.endpoint import THEIRS, authority
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.test_audit import records

OTHER = "c.test"


async def prepared(server: ServerUnderTest) -> list[pb.Entry]:
    """A bundle, two entries that federate with it (one with another domain too), and one that does not."""
    bundle = authority().bundle(1).to_json()
    await server.admin.SetBundle(pb.SetBundleRequest(trust_domain=THEIRS.name, bundle=bundle))
    both = [THEIRS.name, OTHER]
    return [
        await server.create_entry("spiffe://example.org/a", "unix:uid:1", federates_with=both),
        await server.create_entry("spiffe://example.org/b", "unix:uid:1", federates_with=[THEIRS.name]),
        await server.create_entry("spiffe://example.org/c", "unix:uid:1"),
    ]


async def left(server: ServerUnderTest) -> dict[str, list[str]]:
    """Whom each entry federates with."""
    found = (await server.admin.ListEntries(pb.ListEntriesRequest())).entries
    return {entry.spiffe_id.rpartition("/")[2]: sorted(entry.federates_with) for entry in found}


def deletion(mode: str) -> pb.DeleteBundleRequest:
    """Of the bundle."""
    return pb.DeleteBundleRequest(trust_domain=THEIRS.name, mode=mode)


@pytest.mark.parametrize("mode", ["", "restrict"])
async def test_restrict_refuses_while_entries_federate_with_it(tmp_path: Path, mode: str) -> None:
    """Which is also what happens when nobody says anything."""
    async with running_server(tmp_path) as server:
        await prepared(server)
        with pytest.raises(grpc.aio.AioRpcError, match="2 entries federate") as caught:
            await server.admin.DeleteBundle(deletion(mode))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert THEIRS in server.parts.federation.held


async def test_dissociate_leaves_the_entries_without_it(tmp_path: Path) -> None:
    """And with whatever else they federate with."""
    async with running_server(tmp_path) as server:
        await prepared(server)
        done = await server.admin.DeleteBundle(deletion("dissociate"))
        assert (done.deleted, done.entries) == (True, 2)
        assert await left(server) == {"a": [OTHER], "b": [], "c": []}
        assert not server.parts.federation.held


async def test_delete_takes_the_entries_with_it(tmp_path: Path) -> None:
    """All of them, and no other."""
    async with running_server(tmp_path) as server:
        await prepared(server)
        done = await server.admin.DeleteBundle(deletion("delete"))
        assert (done.deleted, done.entries) == (True, 2)
        assert await left(server) == {"c": []}


@pytest.mark.parametrize("mode", ["dissociate", "delete"])
async def test_no_entry_changes_when_the_bundle_stays(tmp_path: Path, mode: str) -> None:
    """A relation would fetch it again, so that is said first; and so is a mode that is none."""
    async with running_server(tmp_path) as server:
        await prepared(server)
        before = await left(server)
        relation = pb.Federation(trust_domain=THEIRS.name, url="https://127.0.0.1:1/", profile="https_web")
        await server.admin.CreateFederation(relation)
        with pytest.raises(grpc.aio.AioRpcError, match="fetched again"):
            await server.admin.DeleteBundle(deletion(mode))
        await server.admin.DeleteFederation(pb.DeleteFederationRequest(trust_domain=THEIRS.name))
        with pytest.raises(grpc.aio.AioRpcError, match="no mode"):
            await server.admin.DeleteBundle(deletion("forget"))
        assert await left(server) == before


async def test_each_mode_can_be_tried_first(tmp_path: Path) -> None:
    """A dry run counts the entries that would change, refuses as the deletion would, and leaves all as it is."""
    async with running_server(tmp_path) as server:
        await prepared(server)
        before = await left(server), dict(server.parts.federation.held), await records(server.data_dir)
        for mode, force, entries in (("dissociate", False, 2), ("delete", False, 2), ("restrict", True, 0)):
            asked = pb.DeleteBundleRequest(trust_domain=THEIRS.name, mode=mode, force=force, dry_run=True)
            done = await server.admin.DeleteBundle(asked)
            assert (done.deleted, done.entries) == (True, entries)
        with pytest.raises(grpc.aio.AioRpcError, match="2 entries federate"):
            await server.admin.DeleteBundle(pb.DeleteBundleRequest(trust_domain=THEIRS.name, dry_run=True))
        none = await server.admin.DeleteBundle(pb.DeleteBundleRequest(trust_domain=OTHER, force=True, dry_run=True))
        assert not none.deleted
        assert before == (await left(server), dict(server.parts.federation.held), await records(server.data_dir))
