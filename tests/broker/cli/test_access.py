"""`ringfence access`, and any admin command from elsewhere: by an SVID or by a token, against a real server."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.broker.access.access import AccessConfig, IssuerConfig
from ringfence.broker.access.rights import Grant, Match, Role
from ringfence.broker.access.tokens import DEFAULT_ALGORITHMS
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.access.keys import AUDIENCE, RSA, URL, claims, key_set, token
from tests.broker.access.operators import with_svid
from tests.broker.agent.harness import running_agent
from tests.broker.cli.operator import Done, ringfence
from tests.broker.server.harness import ServerUnderTest, running_server

DEPLOYER = "spiffe://example.org/ns/team-a/sa/deployer"
EDITOR = Grant(Role.EDITOR, Match(spiffe_id=SpiffeId.parse(DEPLOYER)), frozenset({"team-a"}), "access.grant[0]")
OPEN = AccessConfig(network=True, grants=(EDITOR,))


def create(namespace: str, *more: str) -> tuple[str, ...]:
    """`entry create` of an entry there."""
    name = f"spiffe://example.org/ns/{namespace}/sa/x"
    return ("entry", "create", "--spiffe-id", name, "--selector", "unix:uid:7", *more)


def svid_files(server: ServerUnderTest, folder: Path) -> Path:
    """What `ringfence svid write --dir` makes, for the deployer."""
    node = with_svid(server, DEPLOYER)
    folder.mkdir()
    key = node.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "svid.pem").write_text("".join(map(ssl.DER_cert_to_PEM_cert, node.chain)))
    (folder / "key.pem").write_bytes(key)
    (folder / "bundle.pem").write_bytes(server.bundle_pem)
    return folder


async def test_on_the_socket_one_is_the_user_that_one_is(tmp_path: Path) -> None:
    """An admin as root or as the server's own user; every call of the table is listed, and allowed."""
    async with running_server(tmp_path) as server:
        here = ("--admin-socket", server.admin_socket, "-o", "json")
        me = (await ringfence("access", "whoami", *here)).json
        assert me["admin"]
        assert me["subject"].startswith(f"uid:{os.geteuid()} pid:")
        listed = (await ringfence("access", "list", *here)).json["items"]
        assert all(row["allowed"] for row in listed)
        assert (await ringfence("access", "can-i", "entry create", "--namespace", "x", *here)).json["allowed"]
        wrong = await ringfence("access", "can-i", "entry crate", *here)
        assert (wrong.code, "there is no call" in wrong.err) == (1, True)


async def test_an_editor_from_elsewhere_by_an_svid_in_files(tmp_path: Path) -> None:
    """What is its own it may; what is not ends with the exit code for it, and says how to get there."""
    async with running_server(tmp_path, access=OPEN) as server:
        folder = await asyncio.to_thread(svid_files, server, tmp_path / "svid")
        there = ("--server", server.address, "--svid-dir", str(folder))
        me = (await ringfence("access", "whoami", *there, "-o", "json")).json
        assert (me["subject"], me["edits"], me["admin"]) == (DEPLOYER, ["team-a"], False)
        assert (await ringfence(*create("team-a"), *there)).code == 0
        refused = await ringfence(*create("team-b"), *there)
        assert refused.code == 5
        assert "takes an editor of the namespace team-b" in refused.err
        assert '[[access.grant]] role = "editor", namespaces = ["team-b"]' in refused.err
        asked = await ringfence("access", "can-i", "entry create", "--namespace", "team-b", *there)
        assert asked.code == 3
        allowed = {
            row["call"]
            for row in (await ringfence("access", "list", *there, "-o", "json")).json["items"]
            if row["allowed"]
        }
        assert "CreateEntries" in allowed
        assert not allowed & {"GenerateToken", "BanNodes", "StepAuthority", "ListNodes"}


async def test_a_dry_run_is_judged_as_the_call_and_changes_nothing(tmp_path: Path) -> None:
    """For each command that changes entries; what may not be done may not be tried either."""
    async with running_server(tmp_path, access=OPEN) as server:
        folder = await asyncio.to_thread(svid_files, server, tmp_path / "svid")
        there = ("--server", server.address, "--svid-dir", str(folder))
        tried = await ringfence(*create("team-a", "--dry-run"), *there, "-o", "json")
        assert (tried.json["action"], tried.json["id"]) == ("created", "")
        assert (await ringfence(*create("team-b", "--dry-run"), *there)).code == 5
        assert len(server.parts.registry) == 0
        made = (await ringfence(*create("team-a"), *there, "-o", "json")).json["id"]
        update = await ringfence("entry", "update", made, "--hint", "h", "--dry-run", *there, "-o", "json")
        assert update.json["action"] == "updated"
        delete = await ringfence("entry", "delete", made, "--dry-run", *there, "-o", "json")
        assert delete.json["items"][0]["action"] == "deleted"
        held = server.parts.registry.get(made)
        assert held is not None
        assert held.hint == ""


async def test_a_workload_is_known_by_its_own_svid(tmp_path: Path) -> None:
    """From the Workload API of the agent beside it: nothing to hand out, nothing to keep."""
    async with running_server(tmp_path, access=OPEN) as server:
        await server.create_entry(DEPLOYER, f"unix:uid:{os.getuid()}")
        async with running_agent(tmp_path, server) as agent:
            there = ("--server", server.address, "--workload-socket", str(agent.socket))
            me = (await ringfence("access", "whoami", *there, "-o", "json")).json
            assert me["subject"] == DEPLOYER


async def with_token(server: ServerUnderTest, folder: Path, text: str, *command: str) -> Done:
    """*command* by somebody who has a token, and the bundle that `ringfence bundle show` prints."""
    (folder / "token").write_text(f"{text}\n")
    (folder / "roots.pem").write_bytes(server.bundle_pem)
    files = ("--token-file", str(folder / "token"), "--server-bundle", str(folder / "roots.pem"))
    return await ringfence(*command, "--server", server.address, *files)


async def test_a_viewer_from_elsewhere_by_a_token(tmp_path: Path) -> None:
    """Reads, changes nothing; and the token is in no output."""
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(RSA))
    viewer = Grant(Role.VIEWER, Match(issuer=URL, claims={"sub": "ann"}))
    access = AccessConfig(
        network=True, grants=(viewer,), issuers=(IssuerConfig(URL, AUDIENCE, DEFAULT_ALGORITHMS, keys),)
    )
    async with running_server(tmp_path, access=access) as server:
        text = token(claims(datetime.now(UTC)))
        assert (await with_token(server, tmp_path, text, "entry", "list")).code == 0
        refused = await with_token(server, tmp_path, text, *create("team-a"))
        assert (refused.code, f"oidc:ann@{URL} (viewer of all namespaces)" in refused.err) == (5, True)
        ended = await with_token(
            server, tmp_path, token(claims(datetime.now(UTC) - timedelta(hours=1))), "entry", "list"
        )
        assert (ended.code, "it has ended" in ended.err) == (5, True)
        assert text not in refused.out + refused.err + ended.err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--server needs an identity to show"),
        (("--token-file", "t"), "--token-file needs --server-bundle"),
        (("--svid-dir", "/nowhere"), "/nowhere/svid.pem: cannot be read"),
    ],
)
async def test_without_a_proof_nobody_is_asked(flags: tuple[str, ...], says: str) -> None:
    """A token is shown to nobody before the server is known."""
    done = await ringfence("access", "whoami", "--server", "127.0.0.1:1", *flags)
    assert (done.code, says in done.err) == (4, True)


async def test_a_token_is_not_shown_to_another_server(tmp_path: Path) -> None:
    """One that the bundle does not vouch for never gets to see it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running_server(tmp_path / "a", access=OPEN) as one, running_server(tmp_path / "b", access=OPEN) as other:
        (tmp_path / "token").write_text("x.y.z")
        (tmp_path / "roots.pem").write_bytes(one.bundle_pem)
        files = ("--token-file", str(tmp_path / "token"), "--server-bundle", str(tmp_path / "roots.pem"))
        done = await ringfence("access", "whoami", "--server", other.address, *files)
        assert done.code == 1
        assert "admin.DescribeCaller" not in (other.data_dir / "audit.jsonl").read_text()
