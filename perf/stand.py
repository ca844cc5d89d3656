"""A server and an agent as processes of their own, as figures about the agent need them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TRUST_DOMAIN = "example.org"
OWN_UID = f"unix:uid:{os.geteuid()}"
_RINGFENCE = (sys.executable, "-m", "ringfence.broker.cli")
# As installed: Python keeps what it compiled, so that a start measures the program and not the compiler.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_PATIENCE = 30.0  # seconds for a daemon to become ready


@dataclass(frozen=True, slots=True)
class Stand:
    """A folder with a server that is ready; an agent may be started beside it."""

    folder: Path
    listen: str
    pid: int  # of the server
    http: str = ""  # of the server's pages

    @property
    def admin(self) -> Path:
        """The server's admin socket."""
        return self.folder / "server" / "admin.sock"

    @property
    def socket(self) -> Path:
        """The agent's socket."""
        return self.folder / "agent.sock"

    def token(self) -> str:
        """A fresh join token."""
        return str(json.loads(self.command("token", "generate", "-o", "json"))["token"])

    def command(self, *arguments: str, patience: float = _PATIENCE) -> str:
        """What `ringfence ...` of this server prints."""
        environment = {**ENVIRONMENT, "RINGFENCE_ADMIN_SOCKET": str(self.admin)}
        done = subprocess.run(
            [*_RINGFENCE, *arguments], capture_output=True, text=True, check=True, env=environment, timeout=patience
        )
        return done.stdout

    def agent_command(self, http: str, token: str) -> list[str]:
        """The command line of an agent in `folder/agent`."""
        return [
            *(*_RINGFENCE, "agent", "run", "--server", self.listen, "--trust-domain", TRUST_DOMAIN),
            *("--data-dir", str(self.folder / "agent"), "--socket", str(self.socket), "--http-listen", http),
            *("--bootstrap-bundle", str(self.folder / "server" / "bundle.pem")),
            *(("--join-token", token) if token else ()),
        ]

    @contextmanager
    def agent(self) -> Iterator[subprocess.Popen[bytes]]:
        """An agent that is ready."""
        http = free_address()
        with started(self.agent_command(http, self.token()), self.folder / "agent.log") as process:
            wait_ready(http, process)
            yield process


@contextmanager
def stand() -> Iterator[Stand]:
    """A server that is ready, gone at the end with all that it made."""
    with TemporaryDirectory(prefix="ringfence-perf-") as name:
        folder, listen, http = Path(name), free_address(), free_address()
        command = [
            *(*_RINGFENCE, "server", "run", "--trust-domain", TRUST_DOMAIN, "--data-dir", str(folder / "server")),
            *("--listen", listen, "--http-listen", http),
        ]
        with started(command, folder / "server.log") as process:
            wait_ready(http, process)
            yield Stand(folder, listen, process.pid, http)


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """*command* as a child, terminated at the end."""
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRONMENT) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def wait_ready(http: str, process: subprocess.Popen[bytes]) -> None:
    """Until /ready says 200, asked every few milliseconds."""
    wait_until(lambda: _says_ready(http), process)


def _says_ready(http: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{http}/ready", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until *ready*, which *process* is to bring about; raises RuntimeError when it ends or takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} is not ready after {_PATIENCE} s")
        time.sleep(0.002)


def cpu_seconds(pid: int) -> float:
    """CPU that all threads of *pid* have used so far, by the scheduler's own clock."""
    ticks = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid: int) -> int:
    """Resident memory of *pid*, KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


def free_address() -> str:
    """HOST:PORT that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
