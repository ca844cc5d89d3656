"""What goes wrong on a real machine, through the real commands: clear words, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.broker.agent.harness import OWN_UID, first_svids, running_agent
from tests.broker.server.harness import running_server
from tests.broker.server.node import Node
from tests.e2e.command import INTENT, ringfence, unprivileged

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def workload(metadata: str, spec: str) -> str:
    """A Workload document of three lines."""
    return f"kind: Workload\nmetadata: {{name: {metadata}, namespace: team-a}}\nspec: {{{spec}}}\n"


async def test_everything_wrong_with_the_documents_is_told_at_once(tmp_path: Path) -> None:
    """Malformed, unknown, twice, a bomb, too deep, no text: file, line and next step each, exit code 4, no server."""
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(97 + i)}: &{chr(97 + i)} [{f'*{chr(96 + i)},' * 9}]\n" for i in range(1, 20)
    )
    uid = "launch: {by: [{unix.uid: 0}]}"
    ports = "serves: [{name: a, port: 80, protocol: http}, {name: b, port: 80, protocol: http}]"
    files: dict[str, tuple[str | bytes, str]] = {
        "bomb.yaml": (bomb, "bomb.yaml:1:4: error RF1004"),
        "deep.yaml": ("kind: " + "[" * 50_000, "deep.yaml:1:38: error RF1003"),
        "broken.yaml": ("kind: [\n", "broken.yaml:2:1: error RF1001"),
        "text.yaml": (b"\xff\xfe\x00", "text.yaml:1:1: error RF1002"),
        "twice.yaml": (workload("a, name: b", uid), "twice.yaml:2:21: error RF1005"),
        "field.yaml": (workload("c", f"colour: red, {uid}"), "field.yaml:3:8: error RF1102"),
        "select.yaml": (workload("d", "launch: {by: [{unix.shoe: 0}]}"), "select.yaml:3:23: error RF1106"),
        "value.yaml": (workload("e", "launch: {by: [{unix.uid: me}]}"), "value.yaml:3:33: error RF1106"),
        "port.yaml": (workload("f", f"{ports}, {uid}"), "port.yaml:3:"),
    }
    for name, (text, _) in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "mesh.yaml").write_text("kind: Mesh\nspec: {trustDomain: example.org}\n")
    done = await ringfence("policy", "validate", tmp_path)
    assert done.code == 4
    for _, expected in files.values():
        assert expected in done.err
    assert all(re.search(r"\S+:\d+:\d+: (error|warning) RF\d{4}: .+\. .+", line) for line in done.err.splitlines())

    report = await ringfence("policy", "validate", tmp_path, "-o", "json")
    assert report.code == 4
    assert json.loads(report.out)["valid"] is False
    assert len(json.loads(report.out)["findings"]) == len(done.err.splitlines())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("entry", "list", "--admin-socket"), 5),
        (("svid", "fetch", "x509", "--socket"), 1),
        (("agent", "healthcheck", "--socket"), 1),
    ],
)
async def test_a_socket_that_may_not_be_reached(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    """Named, with what to do; not an exception of a library."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    done = await ringfence(*command, closed / "a.sock", before=unprivileged())
    assert done.code == code
    assert str(closed / "a.sock") in done.err
    assert "FAILED_PRECONDITION" not in done.err
    assert len(done.err.splitlines()) == 1


async def test_ports_and_sockets_that_are_taken(tmp_path: Path) -> None:
    """The address, the flag, exit code 1; a join token that came with it is not needed a second time."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        port = await ringfence(
            *("server", "run", "--trust-domain", "example.org", "--data-dir", tmp_path / "s2"),
            *("--listen", server.address),
        )
        assert port.code == 1
        assert f"{server.address}: cannot listen: Address already in use. Stop what uses it, or change --listen" in (
            port.err
        )
        join = ("agent", "run", "--server", server.address, "--trust-domain", "example.org")
        where = ("--data-dir", tmp_path / "a2", "--bootstrap-bundle", server.data_dir / "bundle.pem")
        token = await server.token()
        taken = await ringfence(*join, *where, "--socket", agent.socket, "--join-token", token)
        assert taken.code == 1
        assert (
            f"{agent.socket}: cannot listen: Address already in use. Stop what uses it, or change --socket" in taken.err
        )
        again = await ringfence(*join, *where, "--socket", agent.socket)
        assert (again.code, "cannot listen" in again.err) == (1, True)


async def test_no_envoy(tmp_path: Path) -> None:
    """Said before anything is started, with how to get one."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.apply({"a.yaml": INTENT.replace("NAME", "web").replace("uid: 0", f"uid: {os.geteuid()}")})
        who = ("--name", "web", "--namespace", "team-a", "--socket", agent.socket)
        done = await ringfence("run", *who, "--envoy", tmp_path / "none", "--", "touch", tmp_path / "ran")
        assert done.code == 1
        assert "ringfence[demo]" in done.err
        assert not (tmp_path / "ran").exists()


async def test_a_workload_that_no_intent_declares(tmp_path: Path) -> None:
    """It is waited for, and then the message says for what."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        who = ("--name", "typo", "--namespace", "team-a", "--socket", agent.socket, "--timeout", "1")
        done = await ringfence("run", *who, "--", "true")
        assert done.code == 6
        assert "Workload team-a/typo" in done.err


class Clock:
    """The system's, moved."""

    def __init__(self) -> None:
        self.by = timedelta()

    def __call__(self) -> datetime:
        """What it shows."""
        return datetime.now(UTC) + self.by


async def test_a_join_token_that_expired_or_was_used(tmp_path: Path) -> None:
    """Exit code 5 and the command that makes a new one; the one that is good still works."""
    clock = Clock()
    async with running_server(tmp_path, clock=clock) as server:
        join = ("agent", "run", "--server", server.address, "--trust-domain", "example.org")
        where = ("--bootstrap-bundle", server.data_dir / "bundle.pem", "--socket", tmp_path / "a.sock")
        used, late = await server.token(), await server.token(ttl=60)
        await Node(server.address, server.bundle_pem).attest(used)
        clock.by = timedelta(minutes=2)
        for token, why in ((used, "was used already"), (late, "has expired"), ("nonsense", "is not known here")):
            done = await ringfence(*join, *where, "--data-dir", tmp_path / "a", "--join-token", token)
            assert done.code == 5
            assert f"this join token {why}" in done.err
            assert "ringfence token generate" in done.err
        assert (await Node(server.address, server.bundle_pem).attest(await server.token())).chain


@pytest.mark.parametrize("by", [timedelta(hours=2), timedelta(days=-3)])
async def test_a_server_whose_clock_jumps_still_serves_what_was_issued(tmp_path: Path, by: timedelta) -> None:
    """Forward it issues on; backward beyond its authority it issues nothing, says why, and loses nothing."""
    clock = Clock()
    async with running_server(tmp_path, clock=clock) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/one", OWN_UID)
        before = await first_svids(agent.socket)
        clock.by = by
        await server.create_entry("spiffe://example.org/two", OWN_UID)
        after = await first_svids(agent.socket)
        assert [svid.spiffe_id for svid in before.svids] == ["spiffe://example.org/one"]
        assert "spiffe://example.org/one" in {svid.spiffe_id for svid in after.svids}
        clock.by = timedelta()
        listed = await ringfence("entry", "list", "--data-dir", server.data_dir, "-o", "json")
        assert {entry["spiffeId"] for entry in json.loads(listed.out)["items"]} == {
            "spiffe://example.org/one",
            "spiffe://example.org/two",
        }
