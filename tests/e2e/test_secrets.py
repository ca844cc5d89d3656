"""No private key, token or passphrase is in a log, an error, a list, a page, a backup: everything is searched."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.broker.agent.harness import OWN_UID, AgentUnderTest, agent_process, page
from tests.broker.server.harness import ServerUnderTest, server_process
from tests.e2e.command import INTENT, Done, ringfence
from tests.e2e.secrets import Secrets, key_of_agent, keys_in
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]  # it runs some fifty commands

PASSPHRASE = "the-words-of-this-test-71c2"  # noqa: S105  # of this test alone
BEARER = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJlLW9mLW5vYm9keS00NDIx"
DEBUG = ("--log-level", "debug")
# Each with `-o json`; what changes something is in between, so that the lists have something to show.
LISTS = (
    "entry list",
    "entry count",
    "node list",
    "node count",
    "identity list",
    "identity revocations",
    "identity holders spiffe://example.org/w",
    "identity explain spiffe://example.org/w",
    "federation list",
    "bundle list",
    "access list",
    "access whoami",
    "proxy status",
    "server authorities",
    "server list",
    "server healthcheck",
    "authority x509 show",
    "authority jwt show",
    "audit show",
    "audit verify",
)


class Scene:
    """A server whose keys are encrypted, an agent, everything that was said, and what must not have been."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = Secrets()
        self.said: list[tuple[str, bytes]] = []
        self.passphrase = self.keep("passphrase", PASSPHRASE)
        self.ports = [free_port() for _ in range(3)]

    def keep(self, name: str, text: str) -> Path:
        """A file with a secret in it."""
        self.secrets.add(name, text)
        path = self.folder / f"{name}.secret"
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    async def run(self, *command: str | Path, code: int | None = 0) -> Done:
        """A command, whose words are kept; *code* None for any."""
        done = await ringfence(*command)
        assert code is None or done.code == code, (command, done)
        self.said.append((" ".join(map(str, command[:4])), (done.out + done.err).encode()))
        return done

    async def answer(self, *command: str | Path) -> str:
        """A command whose answer is a secret that was asked for: its stdout is not searched, its stderr is."""
        done = await ringfence(*command)
        assert done.code == 0, done
        self.said.append((" ".join(map(str, command[:3])), done.err.encode()))
        return done.out

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerUnderTest]:
        """The server."""
        arguments = ("--key-passphrase-file", str(self.passphrase), *DEBUG)
        port, http_port = self.ports[:2]
        async with server_process(self.folder, port=port, http_port=http_port, arguments=arguments) as server:
            yield server

    @asynccontextmanager
    async def agent(self, server: ServerUnderTest) -> AsyncIterator[AgentUnderTest]:
        """Its agent, by a token that an operator asked for."""
        token = json.loads(await self.answer("token", "generate", "--data-dir", server.data_dir, "-o", "json"))["token"]
        file = self.keep("join-token", token)
        where = ("--bootstrap-bundle", str(server.data_dir / "bundle.pem"), "--join-token-file", str(file), *DEBUG)
        async with agent_process(self.folder, server.address, *where, http_port=self.ports[2]) as agent:
            yield agent

    def note_keys(self) -> None:
        """All private keys of this moment; the search finds them where they are kept."""
        folders = {"agent": None, "server/keys": PASSPHRASE, "fetched": None}
        found = [key for name, secret in folders.items() for key in keys_in(self.folder / name, secret)]
        for number, key in enumerate([key_of_agent(self.folder / "agent"), *found], len(self.secrets.known)):
            self.secrets.add_key(f"key {number}", key)
        kept = [path.read_bytes() for name in ("identity.json", "svid.*.key") for path in self.folder.glob(f"*/{name}")]
        assert len(kept) == 2
        assert all(any(name.startswith("key") for name in self.secrets.in_(text)) for text in kept)

    def written(self) -> Iterator[tuple[str, bytes]]:
        """Every file of logs, state and backups, but those that are there to hold the secret."""
        for path in self.folder.rglob("*"):
            kept_for_it = path.suffix == ".secret" or path.parent.name in {"keys", "agent", "fetched"}
            if path.is_file() and not kept_for_it:
                yield str(path.relative_to(self.folder)), path.read_bytes()


async def work(scene: Scene, server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Identities are issued, rotated and revoked."""
    await scene.run("entry", "create", "--spiffe-id", "spiffe://example.org/w", "--selector", OWN_UID, *at(server))
    await scene.run("svid", "fetch", "x509", "--socket", agent.socket, "--write", scene.folder / "fetched")
    token = await scene.answer("svid", "fetch", "jwt", "--socket", agent.socket, "--audience", "db", "-o", "json")
    scene.secrets.add_token("JWT-SVID", next(found for found in token.split('"') if found.count(".") == 2))
    scene.note_keys()
    await scene.run("server", "rotate", "--authority", *at(server))
    await scene.run("svid", "fetch", "x509", "--socket", agent.socket, "--write", scene.folder / "fetched")
    scene.note_keys()
    await scene.run("identity", "revoke", "spiffe://example.org/other", "--reason", "a test", *at(server))


async def mistakes(scene: Scene, server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Everything that has a secret in hand goes wrong once."""
    wrong = scene.keep("wrong-passphrase", "not-the-passphrase-of-it-5c1f")
    bad = scene.keep("bad-join-token", "a-token-that-nobody-made-9a31")
    bearer = scene.keep("bearer", BEARER)
    broken = scene.keep("broken-key", "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5IGJ1dCBhIHNlY3JldA==\n-----END")
    join = ("agent", "run", "--server", server.address, "--trust-domain", "example.org")
    where = ("--data-dir", scene.folder / "other", "--socket", scene.folder / "other.sock", *DEBUG)
    known = ("--bootstrap-bundle", server.data_dir / "bundle.pem")
    await scene.run(*join, *where, *known, "--join-token-file", bad, code=5)
    await scene.run(*join, *where, *known, "--join-token-file", scene.folder / "join-token.secret", code=5)
    pop = ("--attestor", "x509pop", "--x509pop-cert", server.data_dir / "bundle.pem", "--x509pop-key", broken)
    assert (await scene.run(*join, *where, *known, *pop, code=None)).code
    bundle = ("--server-bundle", server.data_dir / "bundle.pem")
    whoami = ("access", "whoami", "--server", server.address, *bundle, "--token-file", bearer)
    assert (await scene.run(*whoami, code=None)).code
    await scene.run("token", "generate", "--ttl", "0s", *at(server), code=None)
    start = ("server", "run", "--trust-domain", "example.org", "--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
    assert (await scene.run(*start, "--key-passphrase-file", wrong, code=None)).code
    validate = ("server", "validate", "--trust-domain", "example.org", "--data-dir", server.data_dir)
    await scene.run(*validate, "--listen", "127.0.0.1:0", "--key-passphrase-file", wrong, code=None)
    socket = scene.folder / "nothing.sock"
    await scene.run("svid", "fetch", "jwt", "--socket", socket, "--audience", "db", "--timeout", "1", code=None)
    assert agent.process is not None


def at(server: ServerUnderTest) -> tuple[str, Path]:
    """Where a command finds the server."""
    return ("--data-dir", server.data_dir)


async def test_no_secret_is_in_anything_that_is_written_or_said(tmp_path: Path) -> None:
    """Logs at debug, errors, every list as JSON, audit log, database, backup, metrics: keys, tokens, passphrases."""
    scene = Scene(tmp_path)
    async with scene.server() as server:
        await server.apply({"a.yaml": INTENT.replace("NAME", "web").replace("uid: 0", f"uid: {os.geteuid()}")})
        async with scene.agent(server) as agent:
            await work(scene, server, agent)
            await mistakes(scene, server, agent)
            for command in LISTS:
                await scene.run(*command.split(), *at(server), "-o", "json")
            await scene.run("server", "backup", tmp_path / "backup", *at(server))
            for port in scene.ports[1:]:
                for path in ("/metrics", "/live", "/ready", "/version"):
                    scene.said.append((path, (await page(port, path)).encode()))
    wrong = scene.folder / "wrong-passphrase.secret"
    start = ("server", "run", "--trust-domain", "example.org", "--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
    assert (await scene.run(*start, "--key-passphrase-file", wrong, *DEBUG, code=None)).code
    leaks = [(what, found) for what, seen in [*scene.said, *scene.written()] if (found := scene.secrets.in_(seen))]
    assert leaks == []
    assert len(scene.secrets.known) > 10
    assert b"svid issued" in (tmp_path / "server.log").read_bytes()
