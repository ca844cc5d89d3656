"""A real SPIRE server and agent as processes of their own: the peer of our figures, built by `make parts`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from perf.stand import TRUST_DOMAIN, free_address, started, wait_until

BIN = Path(__file__).parent.parent / ".parts" / "bin"
AGENT_ID = f"spiffe://{TRUST_DOMAIN}/agent"
_PATIENCE = 30.0  # seconds for a daemon to answer
_SERVER = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{folder}/server.sock"
  trust_domain = "{trust_domain}"
  data_dir = "{folder}/server"
  log_level = "ERROR"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{folder}/server.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ keys_path = "{folder}/server-keys.json" }} }}
}}
"""
_AGENT = """
agent {{
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{folder}/agent.sock"
  trust_domain = "{trust_domain}"
  trust_bundle_path = "{folder}/bundle.pem"
  data_dir = "{folder}/agent"
  join_token = "{token}"
  log_level = "ERROR"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{folder}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


def wanted() -> bool:
    """Whether peers are to be measured in this run (`make bench PEERS=1`)."""
    return bool(os.environ.get("PEERS"))


def described(measured: bool) -> str:  # noqa: FBT001 - one fact
    """What a figure of SPIRE's is."""
    return "SPIRE 1.13.3 in the same run" if measured else "SPIRE on another machine of this kind, not in this run"


@dataclass(frozen=True, slots=True)
class Spire:
    """A server and an agent that answer."""

    folder: Path
    server_pid: int
    agent_pid: int

    @property
    def socket(self) -> Path:
        """The agent's Workload API."""
        return self.folder / "agent.sock"

    def command(self, *arguments: str, check: bool = True, patience: float = _PATIENCE) -> str:
        """What `spire-server ...` prints."""
        return _server_command(self.folder, *arguments, check=check, patience=patience)

    def entry(self, name: str, selector: str) -> str:
        """Create an entry for the agent, which is on its way then; its id."""
        spiffe_id = f"spiffe://{TRUST_DOMAIN}/{name}"
        said = self.command("entry", "create", "-parentID", AGENT_ID, "-spiffeID", spiffe_id, "-selector", selector)
        return next(line.split()[-1] for line in said.splitlines() if line.startswith("Entry ID"))


@contextmanager
def spire(server: str = "") -> Iterator[Spire]:
    """A SPIRE that is ready, gone at the end with all that it made; *server* is added to its server's configuration."""
    if not (BIN / "spire-agent").exists():
        sys.exit("PEERS=1 needs SPIRE: run make parts first")
    with TemporaryDirectory(prefix="ringfence-spire-") as name:
        folder, port = Path(name), free_address().rpartition(":")[2]
        values = {"folder": folder, "port": port, "trust_domain": TRUST_DOMAIN}
        (folder / "server.conf").write_text(_SERVER.format(**values) + server)
        command = [str(BIN / "spire-server"), "run", "-config", str(folder / "server.conf")]
        with started(command, folder / "server.log") as serving:
            wait_until(lambda: "healthy" in _server_command(folder, "healthcheck", check=False), serving)
            (folder / "bundle.pem").write_text(_server_command(folder, "bundle", "show"))
            token = _server_command(folder, "token", "generate", "-spiffeID", AGENT_ID).split()[-1]
            (folder / "agent.conf").write_text(_AGENT.format(**values, token=token))
            agent = [str(BIN / "spire-agent"), "run", "-config", str(folder / "agent.conf")]
            with started(agent, folder / "agent.log") as attesting:
                wait_until((folder / "agent.sock").exists, attesting)
                yield Spire(folder, serving.pid, attesting.pid)


def _server_command(folder: Path, *arguments: str, check: bool = True, patience: float = _PATIENCE) -> str:
    command = [str(BIN / "spire-server"), *arguments, "-socketPath", str(folder / "server.sock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout
