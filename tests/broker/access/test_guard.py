"""The guard, on the real socket of a server: who is heard, what is cut, and what is written down."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access import requests
from ringfence.broker.access.access import Access
from ringfence.broker.access.authenticate import Authenticator
from ringfence.broker.access.present import present
from ringfence.broker.access.quota import A_SECOND, BURST, Quota
from ringfence.broker.access.rights import Caller, Rights, Subject
from ringfence.broker.access.table import NEEDS
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call
from tests.broker.access.callers import editor, viewer
from tests.broker.server.harness import ServerUnderTest, failure, running_server

NAME = "spiffe://example.org/ns/{}/sa/x"


@asynccontextmanager
async def served_to(
    caller: Caller | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServerUnderTest]:
    """A server with an entry in team-a and one in team-b, which then takes everybody for *caller* (None: nobody)."""
    present_one: list[Caller | None] = []

    async def subject_of(self: Authenticator, call: Call) -> Subject:
        if not present_one:
            return Subject("uid:0 pid:1", uid=0)
        if present_one[0] is None:
            raise RingfenceError(Kind.UNAUTHENTICATED, "no identity was shown")
        return present_one[0].subject

    def caller_of(self: Access, subject: Subject, now: float) -> Caller:
        found = present_one[0] if present_one else None
        return found if found is not None else Caller(subject, self.rights_of(subject, now))

    monkeypatch.setattr(Authenticator, "subject_of", subject_of)
    monkeypatch.setattr(Access, "caller", caller_of)
    async with running_server(folder) as server:
        for namespace in ("team-a", "team-b"):
            await server.create_entry(NAME.format(namespace), "unix:uid:1")
        present_one.append(caller)
        yield server


def records(server: ServerUnderTest) -> list[dict[str, Any]]:
    """The audit log."""
    return [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]


async def test_lists_are_cut_and_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer of team-a lists, counts and shows team-a's; of the rest it is not told that it exists."""
    async with served_to(viewer("team-a"), tmp_path, monkeypatch) as server:
        found = await server.admin.ListEntries(pb.ListEntriesRequest())
        assert [entry.spiffe_id for entry in found.entries] == [NAME.format("team-a")]
        assert (await server.admin.CountEntries(pb.ListEntriesRequest())).count == 1
        other = next(e.id for e in server.parts.registry.every() if "team-b" in e.name)
        error = await failure(server.admin.ListEntries(pb.ListEntriesRequest(ids=[other])))
        assert error.kind is Kind.NOT_FOUND


async def test_who_has_no_role_for_a_call_is_told_which_and_it_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the caller, the role and the way to it; the log names the caller too."""
    async with served_to(editor("team-a"), tmp_path, monkeypatch) as server:
        error = await failure(server.admin.GenerateToken(pb.GenerateTokenRequest(ttl=60)))
        assert error.kind is Kind.DENIED
        assert "team-a/sa/deployer (editor of team-a) may not make join tokens: that takes an admin" in error.detail
        assert '[[access.grant]] role = "admin", spiffe_id = ' in error.hint
        last = records(server)[-1]
        assert (last["action"], last["actor"]) == ("admin.GenerateToken", "spiffe://example.org/ns/team-a/sa/deployer")
        assert last["result"].startswith("denied: spiffe://example.org/ns/team-a/sa/deployer (editor of team-a)")


async def test_what_an_editor_did_and_was_refused_is_recorded_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, not by the socket's user."""
    async with served_to(editor("team-a"), tmp_path, monkeypatch) as server:
        await server.create_entry(NAME.format("team-a"), "unix:uid:2")
        error = await failure(server.create_entry(NAME.format("team-b"), "unix:uid:2"))
        assert "takes an editor of the namespace team-b" in error.detail
        done, begun, denied = records(server)[-3:]
        assert {done["actor"], begun["actor"], denied["actor"]} == {"spiffe://example.org/ns/team-a/sa/deployer"}
        assert [done["result"], begun["result"], denied["result"][:7]] == ["ok", "begun", "denied:"]


async def test_a_stranger_is_refused_and_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what any role may read; the audit log is for those who are somebody."""
    async with served_to(None, tmp_path, monkeypatch) as server:
        before = records(server)
        error = await failure(server.admin.Info(pb.InfoRequest()))
        assert error.kind is Kind.UNAUTHENTICATED
        assert records(server) == before


async def test_those_without_a_role_fill_no_disk_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every workload of the mesh could try: so many refusals are recorded, more of them are refused all the same."""
    nobody = Caller(editor().subject, Rights())
    async with served_to(nobody, tmp_path, monkeypatch) as server:
        before = len(records(server))
        for _ in range(int(BURST) + 20):
            assert (await failure(server.admin.Info(pb.InfoRequest()))).kind is Kind.DENIED
        assert BURST <= len(records(server)) - before < BURST + 20


def test_a_quota_fills_with_time_and_never_over() -> None:
    """A burst, then one a second."""
    now = [1e6]
    quota = Quota(lambda: now[0])
    assert sum(quota.take() for _ in range(1_000)) == BURST
    now[0] += 3
    assert sum(quota.take() for _ in range(1_000)) == 3 * A_SECOND
    now[0] += 1e6
    assert sum(quota.take() for _ in range(1_000)) == BURST


async def test_a_call_that_is_not_in_the_table_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even root's."""
    others = {name: need for name, need in NEEDS.items() if name != "ShowBundle"}
    monkeypatch.setattr("ringfence.broker.access.guard.NEEDS", others)
    async with running_server(tmp_path) as server:
        error = await failure(server.admin.ShowBundle(pb.ShowBundleRequest()))
        assert (error.kind, error.detail) == (Kind.DENIED, "no role may call ShowBundle")


async def test_questions_and_decisions_are_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question about two others is refused, and leaves no decision behind; one about oneself is answered."""
    documents = {"x.yaml": "---\n".join(f"apiVersion: ringfence.dev/v1alpha1\n{d}" for d in _TWO)}
    async with served_to(viewer("team-a"), tmp_path, monkeypatch) as server:
        texts = [pb.Document(path=path, text=text.encode()) for path, text in documents.items()]
        error = await failure(server.admin.ApplyPolicy(pb.ApplyPolicyRequest(documents=texts)))
        assert error.kind is Kind.DENIED
        error = await failure(server.admin.CheckAuthz(pb.CheckAuthzRequest(source="team-b/x", destination="c/y")))
        assert error.kind is Kind.DENIED
        assert server.parts.evidence.evidence.decisions.added == 0
        error = await failure(server.admin.CheckAuthz(pb.CheckAuthzRequest(source="team-b/x", destination="team-a/y")))
        assert error.kind is Kind.NOT_FOUND  # heard: there is no intent to ask


_TWO = [f"kind: Workload\nmetadata: {{name: w, namespace: {ns}}}\nspec: {{match: [{{unix.uid: 1}}]}}\n" for ns in "ab"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (pb.RevokeIdentitiesRequest(spiffe_ids=[NAME.format("team-b")]), "editor of the namespace team-b"),
        (pb.RevokeIdentitiesRequest(spiffe_ids=[NAME.format("team-a"), "spiffe://example.org/x"]), "takes an admin"),
        (pb.RevokeIdentitiesRequest(nodes=["spiffe://example.org/ringfence/agent/x/y"]), "takes an admin"),
        (pb.RevokeIdentitiesRequest(serials=["0" * 32]), "takes an admin"),
        (pb.RevokeIdentitiesRequest(spiffe_ids=[NAME.format("team-a")]), ""),
    ],
)
def test_an_editor_revokes_identities_of_its_namespace(request_: Any, says: str) -> None:
    """Those alone: a node is everybody's, and a serial does not say whose it is."""
    for caller in (
        editor("team-a"),
        replace(editor("team-a"), rights=replace(editor("team-a").rights, views_all=True)),
    ):
        try:
            requests.check("RevokeIdentities", request_, caller)
            said = ""
        except RingfenceError as error:
            said = error.detail
        assert says in said
        assert bool(says) == bool(said)


def test_outside_of_a_call_nobody_has_any_right() -> None:
    """A handler that is reached around the guard fails closed."""
    with pytest.raises(RingfenceError) as caught:
        present()
    assert caught.value.kind is Kind.DENIED
