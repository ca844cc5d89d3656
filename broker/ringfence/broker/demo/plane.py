"""What every demo stands on: a private folder, a server, agents on it, and `ringfence run` beside them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from ringfence.broker.demo.processes import RINGFENCE, Children
from ringfence.broker.run.isolate_enter import refused
from ringfence.broker.run.isolate_paths import USUAL, below, real
from ringfence.certs.errors import Kind, RingfenceError

READY_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one demo lies, all below one private folder."""

    root: Path

    @property
    def intent(self) -> Path:
        """The intent documents, filled in for this machine."""
        return self.root / "intent"

    @property
    def server(self) -> Path:
        """The server's data folder."""
        return self.root / "server"

    @property
    def admin(self) -> Path:
        """The server's admin socket."""
        return self.server / "admin.sock"

    def agent(self, name: str = "agent") -> Path:
        """An agent's data folder."""
        return self.root / name

    def socket(self, name: str = "agent") -> Path:
        """An agent's socket, for workloads and their proxies."""
        return self.root / f"{name}.sock"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.root / "logs"


def programs() -> tuple[Path, ...]:
    """The folders of this Python and of Ringfence that walls would hide: of those who install it in /tmp, say."""
    import ringfence

    folders = {sys.prefix, sys.base_prefix, *(str(Path(portion).parent) for portion in ringfence.__path__)}
    hidden = real([*USUAL, tempfile.gettempdir()])
    return tuple(Path(folder) for folder in sorted(folders) if below(str(Path(folder).resolve()), hidden))


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Plane:
    """One control plane in one folder: everything it starts, it ends."""

    def __init__(self, root: Path, say: Callable[[str], None], trust_domain: str) -> None:
        self.places = Places(root)
        for folder in (root, self.places.intent, self.places.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.say = say
        self.trust_domain = trust_domain
        self.listen = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.agent_http: dict[str, str] = {}  # where each agent says that it is ready
        self.walls = False
        self.bare: dict[str, str] = {}  # the workloads that are never isolated, and why
        env = {"RINGFENCE_ADMIN_SOCKET": str(self.places.admin), "PYTHONUNBUFFERED": "1"}
        self.children = Children(self.places.logs, env)

    async def try_walls(self) -> None:
        """Have workloads isolated from now on, where the kernel lets this user; say which it is."""
        why = await refused()
        self.walls = not why
        but = "".join(f"; not {name}: {reason}" for name, reason in self.bare.items())
        self.say(f"workloads share this user's loopback and sockets: {why}" if why else f"workloads are isolated{but}")

    async def start_server(self) -> None:
        """Start the server, again after a crash, and wait until it is ready."""
        await self.children.start(
            "server", *RINGFENCE, "server", "run",
            "--trust-domain", self.trust_domain, "--data-dir", str(self.places.server),
            "--listen", self.listen, "--http-listen", self.http, "--intent", str(self.places.intent),
        )  # fmt: skip
        await self.until("server", lambda: self.places.admin.exists() and _healthy(self.http))

    async def start_agent(self, name: str = "agent", *options: str) -> None:
        """Start a node's agent and wait until it is ready; only its first start needs a join token."""
        known = self.places.agent(name).exists()
        token = "" if known else json.loads(await self.command("token", "generate", "-o", "json"))["token"]
        http = self.agent_http[name] = f"127.0.0.1:{free_port()}"
        await self.children.start(
            name, *RINGFENCE, "agent", "run", "--server", self.listen, "--trust-domain", self.trust_domain,
            "--bootstrap-bundle", str(self.places.server / "bundle.pem"),
            "--data-dir", str(self.places.agent(name)), "--socket", str(self.places.socket(name)),
            "--http-listen", http, *options,
            env={"RINGFENCE_JOIN_TOKEN": token} if token else {},
        )  # fmt: skip
        await self.until(name, lambda: _healthy(http))

    async def command(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run one `ringfence` command to its end and give what it printed."""
        process = await asyncio.create_subprocess_exec(
            *RINGFENCE, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | self.children.env,
        )  # fmt: skip
        out, err = await process.communicate()
        if process.returncode not in codes:
            raise RingfenceError(Kind.UNAVAILABLE, f"ringfence {' '.join(arguments)} failed: {err.decode().strip()}")
        return out.decode()

    def run_command(
        self, name: str, namespace: str, *command: str, agent: str = "agent", share: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """`ringfence run` of one workload on the node of *agent*; behind walls it sees the folders *share*."""
        walls = self.walls and name not in self.bare
        seen = (*programs(), *share)
        isolated = ("--isolate", *(word for folder in seen for word in ("--share", str(folder)))) if walls else ()
        return (
            *RINGFENCE, "run", "--socket", str(self.places.socket(agent)), "--server", self.listen,
            "--name", name, "--namespace", namespace, *isolated, "--", *command,
        )  # fmt: skip

    def write_intent(self, documents: Traversable, facts: Mapping[str, str]) -> None:
        """The demo's intent, with this machine's facts in it."""
        for document in documents.iterdir():
            (self.places.intent / document.name).write_text(fill_in(document.read_text(), facts))

    async def until(self, name: str, done: Callable[[], bool]) -> None:
        """Poll for the readiness of a process that cannot push it; fails at once when the process ended."""
        try:
            async with asyncio.timeout(READY_WITHIN):
                while not await asyncio.to_thread(done):
                    self.children.require_alive(name)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise RingfenceError(
                Kind.TIMEOUT,
                f"{name} was not ready after {READY_WITHIN:.0f} s; it said last:\n{self.children.log_tail(name)}",
            ) from None

    async def clear(self) -> None:
        """End every process and remove everything that was made."""
        await self.children.end_all()
        await asyncio.to_thread(shutil.rmtree, self.places.root, ignore_errors=True)


def fill_in(text: str, facts: Mapping[str, str]) -> str:
    """Put this machine's facts where a comment `# ${NAME}` marks a value, or where a whole line is such a comment."""
    text = re.sub(r"(?m)^(\s*)# (\w+: )\$\{(\w+)\}$", lambda m: m[1] + m[2] + facts[m[3]], text)
    return re.sub(r"(?m)^(\s*(?:- )?[\w.]+: )\S+ +# \$\{(\w+)\}$", lambda m: m[1] + facts[m[2]], text)


def _healthy(address: str) -> bool:
    """Whether `GET /ready` answers 200."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200  # noqa: PLR2004  # OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
