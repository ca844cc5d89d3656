"""The admin API by a grpcio client on the real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind
from tests.broker.server.harness import TRUST_DOMAIN, failure, running_server
from tests.broker.test_intent import RULE, WORKLOADS

INTENT = {"intent/w.yaml": WORKLOADS, "intent/r.yaml": RULE}
TRAINER = "spiffe://example.org/ns/a/sa/by-hand"


def asks(**fields: str) -> pb.CheckAuthzRequest:
    """May the trainer pull from the registry?"""
    return pb.CheckAuthzRequest(**{"source": "a/trainer", "destination": "a/registry", "method": "GET"} | fields)


async def test_info_says_what_it_holds(tmp_path: Path) -> None:
    """Who it is and how much there is."""
    async with running_server(tmp_path) as server:
        await server.create_entry(TRAINER, "unix:uid:1000")
        info = await server.admin.Info(pb.InfoRequest())
        assert (info.ready, info.entries, info.agents, info.proxies) == (True, 1, 0, 0)
        assert (info.trust_domain, info.spiffe_id) == ("example.org", "spiffe://example.org/ringfence/server")


async def test_entries_are_created_listed_and_deleted(tmp_path: Path) -> None:
    """The same again is unchanged; deleting what is not there is no error."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000", "unix:gid:7", x509_ttl=60)
        again = await server.admin.CreateEntries(
            pb.CreateEntriesRequest(
                entries=[pb.Entry(spiffe_id=TRAINER, selectors=["unix:gid:7", "unix:uid:1000"], x509_ttl=60)]
            )
        )
        assert [(result.entry, result.action) for result in again.results] == [(made, "unchanged")]
        assert list((await server.admin.ListEntries(pb.ListEntriesRequest())).entries) == [made]
        assert not (await server.admin.ListEntries(pb.ListEntriesRequest(spiffe_id="spiffe://x.org/y"))).entries
        deleted = await server.admin.DeleteEntries(pb.DeleteEntriesRequest(ids=[made.id, "none"]))
        assert list(deleted.deleted) == [made.id]
        error = await failure(server.admin.ListEntries(pb.ListEntriesRequest(ids=[made.id])))
        assert error.kind is Kind.NOT_FOUND


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (pb.Entry(spiffe_id="nonsense", selectors=["unix:uid:1"]), "no SPIFFE ID"),
        (pb.Entry(spiffe_id=TRAINER, selectors=["unix:nonsense:1"]), "no selector of unix"),
        (pb.Entry(spiffe_id=TRAINER), "no selector"),
        (pb.Entry(spiffe_id="spiffe://other.org/a", selectors=["unix:uid:1"]), "outside the trust domain"),
        (pb.Entry(spiffe_id="spiffe://example.org/ringfence/server", selectors=["unix:uid:1"]), "not be registered"),
    ],
)
async def test_a_bad_entry_is_refused_in_words(tmp_path: Path, entry: pb.Entry, says: str) -> None:
    """INVALID, and a good one beside it is not created either."""
    async with running_server(tmp_path) as server:
        good = pb.Entry(spiffe_id=TRAINER, selectors=["unix:uid:1"])
        error = await failure(server.admin.CreateEntries(pb.CreateEntriesRequest(entries=[good, entry])))
        assert error.kind is Kind.INVALID
        assert says in error.detail
        assert len(server.parts.registry) == 0


async def test_an_entry_of_the_intent_is_not_deleted_by_hand(tmp_path: Path) -> None:
    """It would come back at the next apply: the document is the place."""
    async with running_server(tmp_path) as server:
        await server.apply(INTENT)
        [entry, *_] = (await server.admin.ListEntries(pb.ListEntriesRequest())).entries
        error = await failure(server.admin.DeleteEntries(pb.DeleteEntriesRequest(ids=[entry.id])))
        assert error.kind is Kind.CONFLICT
        assert entry.origin in error.detail


async def test_check_names_rule_file_line_and_commit(tmp_path: Path) -> None:
    """From the model in force, also after a restart."""
    async with running_server(tmp_path) as server:
        assert (await failure(server.admin.CheckAuthz(asks()))).kind is Kind.NOT_FOUND
        await server.apply(INTENT, author="me", commit="c0ffee")
        before = await server.admin.CheckAuthz(asks())
    async with running_server(tmp_path) as server:
        decision = await server.admin.CheckAuthz(asks())
        denied = await server.admin.CheckAuthz(asks(source="a/registry", destination="a/registry"))
    assert decision.allowed
    assert (decision.rule, decision.path, decision.line) == ("a/pull", "intent/r.yaml", 1)
    assert (decision.author, decision.commit, decision.reason) == ("me", "c0ffee", "base model")
    assert decision.revision == before.revision
    assert (denied.allowed, denied.rule) == (False, "default-deny")


async def test_decisions_that_were_asked_for_are_kept_and_found(tmp_path: Path) -> None:
    """Tail and explain answer from what the server keeps."""
    async with running_server(tmp_path) as server:
        await server.apply(INTENT)
        decision = await server.admin.CheckAuthz(asks())
        tail = [d.id async for d in server.admin.TailAuthz(pb.TailAuthzRequest(last=5))]
        explained = await server.admin.ExplainAuthz(pb.ExplainAuthzRequest(id=decision.id))
        assert tail == [decision.id]
        assert [d.rule for d in explained.decisions] == ["a/pull"]


async def test_what_left_the_mesh_is_listed(tmp_path: Path) -> None:
    """Nothing at first, since only proxies tell of it."""
    async with running_server(tmp_path) as server:
        assert not (await server.admin.ListDepartures(pb.ListDeparturesRequest())).departures


async def test_an_apply_with_errors_returns_them_all(tmp_path: Path) -> None:
    """As an answer, not as a failure: the command line prints each with its place."""
    async with running_server(tmp_path) as server:
        done = await server.apply({"a.yaml": "kind: X\n", "b.yaml": "kind: Y\n"})
        assert {finding.path for finding in done.findings} == {"a.yaml", "b.yaml"}
        assert not server.parts.intent.revision


async def test_a_rotation_changes_the_authority_and_its_bundle(tmp_path: Path) -> None:
    """The new one signs, the old one is trusted still, and the server's own SVID is new too."""
    async with running_server(tmp_path) as server:
        before = await server.admin.ShowAuthorities(pb.ShowAuthoritiesRequest())
        done = await server.admin.Rotate(pb.RotateRequest(authority=True))
        after = await server.admin.ShowAuthorities(pb.ShowAuthoritiesRequest())
        slots = {(a.kind, a.slot): a.id for a in after.authorities}
        assert slots["x509", "current"] == done.authority
        assert slots["x509", "old"] == before.authorities[0].id
        shown = await server.admin.ShowBundle(pb.ShowBundleRequest())
        assert len(SpiffeBundle.parse(TRUST_DOMAIN, shown.bundle).x509_authorities) == 2


@pytest.mark.parametrize("ttl", [-1, 10**9])
async def test_a_token_of_no_sensible_life_is_refused(tmp_path: Path, ttl: int) -> None:
    """A secret that lives for years is none."""
    async with running_server(tmp_path) as server:
        error = await failure(server.admin.GenerateToken(pb.GenerateTokenRequest(ttl=ttl)))
        assert error.kind is Kind.INVALID
