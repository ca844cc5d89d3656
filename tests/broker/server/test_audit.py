"""What a running server leaves in its audit log."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.broker.audit.calls import audited, audited_connections, caller
from ringfence.broker.audit.chain import ACTIVE, files_of, verify
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Record, parse
from ringfence.broker.server.upkeep import look
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from ringfence.proto.lane import Method
from ringfence.proto.lane.peer import Peer
from ringfence.proto.status import Code, Status
from tests.broker.server.harness import running_server, server_process
from tests.broker.server.node import Node
from tests.broker.server.test_admin_api import INTENT, TRAINER
from tests.broker.server.test_kill import Traffic
from tests.broker.world import Clock
from tests.ports import free_port


async def records(folder: Path, action: str = "") -> list[Record]:
    """Those of *action*, oldest first."""
    data = await asyncio.to_thread((folder / ACTIVE).read_bytes)
    found = [parse(line) for line in data.splitlines(keepends=True)]
    return [record for record in found if action in {"", record.action}]


async def said(folder: Path, action: str) -> list[tuple[str, str]]:
    """Subject and result of those."""
    return [(record.subject, record.result) for record in await records(folder, action)]


async def test_a_new_server_records_its_authority_and_its_own_svid(tmp_path: Path) -> None:
    """Before anyone is served."""
    async with running_server(tmp_path) as server:
        found = await records(server.data_dir)
        current = server.parts.trust.authority.current.x509.subject_key_id
        assert [(f.action, f.actor) for f in found] == [
            ("authority.create", "server"),
            ("svid.issue", "spiffe://example.org/ringfence/server"),
        ]
        assert found[0].subject == current


async def test_operators_changes_are_recorded_before_and_after_with_who_asked(tmp_path: Path) -> None:
    """By peer credentials; the same fields that the answer has."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000")
        await server.delete_entry(made.id)
        me = f"uid:{os.geteuid()} pid:{os.getpid()}"
        created = await records(server.data_dir, "entry.create")
        assert [(r.actor, r.subject, r.result) for r in created] == [(me, TRAINER, "begun"), (me, TRAINER, "ok")]
        assert created[1].detail["entries"] == [[made.id, TRAINER, "created"]]
        deleted = await records(server.data_dir, "entry.delete")
        assert [r.result for r in deleted] == ["begun", "ok"]
        assert deleted[1].detail == {"ids": [made.id], "deleted": [made.id]}


async def test_tokens_are_known_by_their_hash_from_making_to_use(tmp_path: Path) -> None:
    """And the node that came of it; the token itself is nowhere."""
    async with running_server(tmp_path) as server:
        token = await server.token()
        digest = hashlib.sha256(token.encode()).hexdigest()
        node = Node(server.address, server.bundle_pem)
        await node.attest(token)
        assert (digest, "ok") in await said(server.data_dir, "token.generate")
        assert await said(server.data_dir, "token.use") == [(digest, "ok")]
        [attested] = await records(server.data_dir, "node.attest")
        assert (attested.subject, attested.detail["attestor"]) == (node.spiffe_id, "join_token")
        assert token.encode() not in await asyncio.to_thread((server.data_dir / ACTIVE).read_bytes)


async def test_issued_and_refused_svids_are_recorded(tmp_path: Path) -> None:
    """By the agent that asked."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000")
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        request = new_csr(ec.generate_private_key(ec.SECP256R1()))
        async with node.connected() as stream:
            items = [agent.SvidItem(entry_id=made.id, csr=request), agent.SvidItem(entry_id="none", csr=request)]
            await stream.say(svids=agent.SvidRequest(id=1, items=items))
            await stream.hear("svids")
        found = (await records(server.data_dir, "svid.issue"))[-1]
        assert (found.actor, found.result) == (node.spiffe_id, "1 of 2 refused")
        assert found.detail["issued"][0][1] == TRAINER


async def test_an_apply_is_recorded_with_revision_author_and_commit(tmp_path: Path) -> None:
    """A dry run is not, and one that is refused says so."""
    async with running_server(tmp_path) as server:
        await server.apply(INTENT, author="ann", commit="abc", dry_run=True)
        assert not await said(server.data_dir, "policy.apply")
        applied = await server.apply(INTENT, author="ann", commit="abc")
        await server.apply({"x.yaml": "nonsense"})
        found = await records(server.data_dir, "policy.apply")
        assert [r.result.split(":")[0] for r in found] == ["begun", "ok", "begun", "failed"]
        assert found[1].subject == applied.revision
        assert (found[1].detail["author"], found[1].detail["commit"]) == ("ann", "abc")


async def test_every_step_of_the_authority_is_recorded(tmp_path: Path) -> None:
    """With the ids of its keys, and who asked for it."""
    async with running_server(tmp_path) as server:
        before = server.parts.trust.authority.current.x509.subject_key_id
        done = await server.admin.Rotate(pb.RotateRequest(authority=True))
        assert (done.authority, "ok") in await said(server.data_dir, "authority.rotate")
        [prepared] = await records(server.data_dir, "authority.prepare")
        [activated] = await records(server.data_dir, "authority.activate")
        assert (prepared.subject, prepared.detail["x509"]["next"]) == (done.authority, done.authority)
        assert (activated.subject, activated.detail["x509"]["old"]) == (done.authority, [before])
        assert activated.actor == f"uid:{os.geteuid()} pid:{os.getpid()}"


async def test_what_fails_is_recorded_as_failed(tmp_path: Path) -> None:
    """In the words that the operator got."""
    async with running_server(tmp_path) as server:
        with pytest.raises(grpc.aio.AioRpcError):
            await server.create_entry("spiffe://other.org/a", "unix:uid:1000")
        [_, failed] = await said(server.data_dir, "entry.create")
        assert failed[1].startswith("failed: spiffe://other.org/a")


async def test_nothing_is_done_when_it_cannot_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for operators nor for agents."""
    async with running_server(tmp_path) as server:
        token = await server.token()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(AuditLog, "_write", full)
            with pytest.raises(grpc.aio.AioRpcError, match="audit log"):
                await server.create_entry(TRAINER, "unix:uid:1000")
            node = Node(server.address, server.bundle_pem)
            with pytest.raises(grpc.aio.AioRpcError, match="audit log"):
                await node.attest(token)
            assert (await server.admin.Info(pb.InfoRequest())).entries == 0
        await node.attest(token)  # it was not spent


async def test_an_entry_that_ended_is_deleted_on_record(tmp_path: Path) -> None:
    """By the server itself."""
    clock = Clock()
    async with running_server(tmp_path, clock=clock) as server:
        end = int(clock().timestamp()) + 60
        made = await server.create_entry(TRAINER, "unix:uid:1000", expires_at=end)
        clock.turn(minutes=2)
        await look(server.parts)
        [ended] = await records(server.data_dir, "entry.expire")
        assert (ended.actor, ended.subject, ended.detail) == ("server", made.id, {"ids": [made.id]})


async def test_the_chain_goes_on_over_a_restart(tmp_path: Path) -> None:
    """And the intent applied at a start is the server's own deed."""
    folder = tmp_path / "intent"
    await asyncio.to_thread(folder.mkdir)
    for name, text in INTENT.items():
        await asyncio.to_thread((folder / Path(name).name).write_text, text)
    async with running_server(tmp_path) as server:
        await server.token()
    async with running_server(tmp_path, intent=folder) as server:
        [applied] = await records(server.data_dir, "policy.apply")
        assert applied.actor == "server"
    checked = await asyncio.to_thread(lambda: verify(files_of(server.data_dir / ACTIVE)))
    assert (checked.first, checked.torn) == (1, 0)


async def test_a_full_file_is_rotated_under_a_running_server(tmp_path: Path) -> None:
    """At the size that it was told, the chain going on."""
    async with running_server(tmp_path, audit_rotate_bytes=2048) as server:
        for number in range(12):
            await server.create_entry(f"{TRAINER}{number}", "unix:uid:1000")
        files = await asyncio.to_thread(lambda: files_of(server.data_dir / ACTIVE))
        checked = await asyncio.to_thread(lambda: verify(files))
    assert len(files) > 3
    assert (checked.records, checked.first) == (2 + 2 * 12, 1)


class _Call:
    def __init__(self, request: Any = None) -> None:
        self.peer = Peer("unix", uid=7, pid=9)
        self.requests = [request]

    async def receive(self) -> Any:
        return self.requests.pop() if self.requests else None

    async def send(self, message: Any) -> None:
        """Nobody listens."""


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("DeleteEntries", RingfenceError(Kind.DENIED, "not yours")),
        ("ListEntries", RingfenceError(Kind.UNAUTHENTICATED, "not yours")),
        ("SomethingNew", Status(Code.PERMISSION_DENIED, "not yours")),
    ],
)
async def test_a_denied_call_is_recorded_also_if_it_only_reads(tmp_path: Path, method: str, error: Exception) -> None:
    """Before or after its request was looked at."""
    log = await asyncio.to_thread(lambda: AuditLog.open(tmp_path / ACTIVE, clock=Clock()))

    async def denies(_: Any) -> None:
        raise error

    wrapped = audited({f"/s/{method}": Method(denies, bytes)}, log)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        await wrapped[f"/s/{method}"].handler(_Call(pb.InfoRequest()))  # type: ignore[arg-type]
    log.close()
    [found] = await records(tmp_path)
    assert (found.action, found.actor, found.result) == (f"admin.{method}", "uid:7 pid:9", "denied: not yours")


@pytest.mark.parametrize(
    ("error", "result"),
    [(ValueError("a secret"), "failed: ValueError"), (asyncio.CancelledError(), "abandoned")],
)
async def test_what_ends_otherwise_is_recorded_too(tmp_path: Path, error: BaseException, result: str) -> None:
    """A failure inside by its name only, and a call whose caller left."""
    log = await asyncio.to_thread(lambda: AuditLog.open(tmp_path / ACTIVE, clock=Clock()))

    async def ends(call: Any) -> None:
        await call.receive()
        raise error

    wrapped = audited({"/s/Novel": Method(ends, bytes)}, log)
    with pytest.raises(type(error)):
        await wrapped["/s/Novel"].handler(_Call(pb.EvictNodesRequest(spiffe_ids=["a"])))  # type: ignore[arg-type]
    log.close()
    assert [found.result for found in await records(tmp_path)] == ["begun", result]


async def test_a_method_that_nobody_thought_of_is_recorded(tmp_path: Path) -> None:
    """Only what is named as reading is left out."""
    log = await asyncio.to_thread(lambda: AuditLog.open(tmp_path / ACTIVE, clock=Clock()))

    async def answers(call: Any) -> None:
        await call.receive()

    wrapped = audited({"/s/Novel": Method(answers, bytes), "/s/ListX": Method(answers, bytes)}, log)
    for path in wrapped:
        await wrapped[path].handler(_Call(pb.EvictNodesRequest(spiffe_ids=["a"])))  # type: ignore[arg-type]
    log.close()
    assert [(f.action, f.subject, f.result) for f in await records(tmp_path)] == [
        ("admin.Novel", "a", "begun"),
        ("admin.Novel", "a", "ok"),
    ]


async def test_a_peer_that_is_not_let_in_is_recorded(tmp_path: Path) -> None:
    """By its uid, and it stays out."""
    log = await asyncio.to_thread(lambda: AuditLog.open(tmp_path / ACTIVE, clock=Clock()))

    def refuse(_: Any) -> None:
        raise Status(Code.PERMISSION_DENIED, "no")

    hook = audited_connections(refuse, log)
    with pytest.raises(Status):
        await hook(_Call())  # type: ignore[arg-type,misc]
    log.close()
    [found] = await records(tmp_path)
    assert (found.action, found.actor, found.result) == ("admin.connect", "uid:7 pid:9", "denied: no")


def test_whoever_shows_no_svid_is_named_by_address() -> None:
    """A certificate that is none of ours names nobody."""
    assert caller(Peer("10.0.0.1:9")) == "10.0.0.1:9"
    assert "no SVID" in caller(Peer("10.0.0.1:9", certificate=b"nonsense"))


@pytest.mark.e2e
@pytest.mark.slow
async def test_no_acknowledged_deed_is_missing_after_kill_9(tmp_path: Path) -> None:
    """Three times the server is killed while it registers and issues: the chain holds, and names all it confirmed."""
    draw = random.Random(20261124)  # noqa: S311  # no secret
    traffic, port, http = Traffic(), free_port(), free_port()
    for number in range(3):
        async with server_process(tmp_path, port=port, http_port=http) as server:
            node = Node(server.address, server.bundle_pem)
            await node.attest(await server.token())
            entry = await server.create_entry(f"spiffe://example.org/base/{number}", "unix:uid:1000")
            tasks = [
                asyncio.create_task(traffic.register(server, f"r{number}")),
                asyncio.create_task(traffic.fetch(node, entry.id)),
            ]
            await traffic.first.wait()
            await asyncio.sleep(draw.uniform(0, 0.3))  # the moment of death, not a wait for anything
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
            await asyncio.gather(*tasks)
    # As if the last write had been cut short, which a kill of the process alone does not do.
    log = server.data_dir / ACTIVE
    await asyncio.to_thread(lambda: log.write_bytes(log.read_bytes() + b'{"action":"ent'))
    async with server_process(tmp_path, port=port, http_port=http):
        pass
    checked = await asyncio.to_thread(lambda: verify(files_of(log)))
    found = await records(server.data_dir)
    assert checked.records == len(found)
    assert [record.detail for record in found if record.action == "audit.repair"] == [{"bytes_cut_off": 14}]
    issued = {each[0] for record in found if record.action == "svid.issue" for each in record.detail["issued"]}
    created = {each[0] for record in found for each in record.detail.get("entries", ())}
    assert traffic.serials
    assert traffic.serials <= issued
    assert traffic.entries <= created
    assert "torn last line" in await asyncio.to_thread((tmp_path / "server.log").read_text)
