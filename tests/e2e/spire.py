"""A real SPIRE server with an agent of its own, as tests start it, and what its commands say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import parts
from tests.ports import free_port

_SERVER = """\
server {{
  bind_address = "127.0.0.1"
  bind_port = {port}
  trust_domain = "{trust_domain}"
  data_dir = "{folder}"
  socket_path = "{folder}/api.sock"
  ca_ttl = "{ca_ttl}"
  experimental {{ cache_reload_interval = "1s" }}
  {extra}
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{folder}/datastore.sqlite3"
    }}
  }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  {plugins}
}}
"""
_AGENT = """\
agent {{
  server_address = "127.0.0.1"
  server_port = {port}
  trust_domain = "{trust_domain}"
  trust_bundle_path = "{folder}/bundle.pem"
  data_dir = "{folder}/agent"
  socket_path = "{folder}/agent.sock"
  join_token = "{token}"
  experimental {{ sync_interval = "1s" }}
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""
_READY = 30.0  # seconds
_SYNC = 30.0  # seconds for its agent to learn of an entry: it polls


@dataclass(slots=True)
class Spire:
    """Where it is."""

    trust_domain: str
    folder: Path
    port: int
    endpoint_port: int  # of its bundle endpoint, if it was told to have one

    @property
    def agent_socket(self) -> Path:
        """The Workload API of its agent."""
        return self.folder / "agent.sock"

    @property
    def parent(self) -> str:
        """What its agent is called."""
        return f"spiffe://{self.trust_domain}/node"

    async def server(self, *arguments: str | Path) -> str:
        """`spire-server ARGUMENTS`."""
        return await _said("spire-server", *arguments, "-socketPath", self.folder / "api.sock")

    async def agent(self, *arguments: str | Path, wait: float = _SYNC) -> str:
        """`spire-agent ARGUMENTS`, again until it succeeds or *wait* seconds are over."""
        async with asyncio.timeout(wait):
            while True:
                try:
                    return await _said("spire-agent", *arguments, "-socketPath", self.agent_socket)
                except AssertionError:
                    await asyncio.sleep(0.1)

    async def create_entry(self, path: str, *arguments: str) -> None:
        """For whatever this user runs."""
        name = ("-spiffeID", f"spiffe://{self.trust_domain}{path}", "-parentID", self.parent)
        await self.server("entry", "create", *name, "-selector", f"unix:uid:{os.geteuid()}", *arguments)

    async def bundle(self) -> bytes:
        """Its bundle, JSON."""
        return (await self.server("bundle", "show", "-format", "spiffe")).encode()

    async def validates(self, token: str, audience: str) -> str:
        """The SPIFFE ID that its agent finds in *token*."""
        said = await self.agent("api", "validate", "jwt", "-audience", audience, "-svid", token, "-output", "json")
        found: str = json.loads(said)["spiffe_id"]
        return found

    async def token(self, audience: str) -> str:
        """A JWT-SVID of this process."""
        said: Any = json.loads(await self.agent("api", "fetch", "jwt", "-audience", audience, "-output", "json"))
        found: str = said[0]["svids"][0]["svid"]
        return found


@asynccontextmanager
async def spire_server(
    folder: Path, trust_domain: str, *, ca_ttl: str = "24h", extra: str = "", plugins: str = "", **environment: str
) -> AsyncIterator[Spire]:
    """A server, ready; *extra* goes into its `server` block, where {endpoint} is a free port."""
    await asyncio.to_thread(folder.mkdir)
    spire = Spire(trust_domain, folder, free_port(), free_port())
    text = _SERVER.format(
        port=spire.port,
        trust_domain=trust_domain,
        folder=folder,
        ca_ttl=ca_ttl,
        extra=extra.replace("{endpoint}", str(spire.endpoint_port)),
        plugins=plugins,
    )
    await asyncio.to_thread((folder / "server.conf").write_text, text)
    async with _running(folder, "spire-server", "server.conf", environment):
        async with asyncio.timeout(_READY):
            while not (folder / "api.sock").exists():  # noqa: ASYNC110  # nothing else tells
                await asyncio.sleep(0.05)
        yield spire


@asynccontextmanager
async def spire_agent(spire: Spire) -> AsyncIterator[Spire]:
    """Its agent, ready."""
    made = await spire.server("token", "generate", "-spiffeID", spire.parent, "-output", "json")
    bundle = await spire.server("bundle", "show")
    text = _AGENT.format(
        port=spire.port, trust_domain=spire.trust_domain, folder=spire.folder, token=json.loads(made)["value"]
    )
    await asyncio.to_thread((spire.folder / "bundle.pem").write_text, bundle)
    await asyncio.to_thread((spire.folder / "agent.conf").write_text, text)
    async with _running(spire.folder, "spire-agent", "agent.conf", {}):
        async with asyncio.timeout(_READY):
            while not spire.agent_socket.exists():  # noqa: ASYNC110  # nothing else tells
                await asyncio.sleep(0.05)
        yield spire


@asynccontextmanager
async def running_spire(folder: Path, trust_domain: str, **options: str) -> AsyncIterator[Spire]:
    """Both."""
    async with AsyncExitStack() as stack:
        spire = await stack.enter_async_context(spire_server(folder, trust_domain, **options))
        yield await stack.enter_async_context(spire_agent(spire))


async def _said(program: str, *arguments: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        parts.built(program),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()
    return out.decode()


@asynccontextmanager
async def _running(folder: Path, program: str, config: str, environment: dict[str, str]) -> AsyncIterator[None]:
    command = (parts.built(program), "run", "-config", str(folder / config))
    with (folder / f"{program}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
