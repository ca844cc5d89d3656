"""Sets the stage: a private folder, the intent, the server, the agent, and each workload behind its own Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ringfence.broker.demo.processes import RINGFENCE, Children, Probe
from ringfence.certs.errors import Kind, RingfenceError

TRUST_DOMAIN = "demo.ringfence.dev"
READY_WITHIN = 30.0
WORKLOADS = files("ringfence.broker.demo") / "workloads"
INTENT = files("ringfence.broker.demo") / "intent"


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
    def agent(self) -> Path:
        """The agent's data folder."""
        return self.root / "agent"

    @property
    def admin(self) -> Path:
        """The server's admin socket."""
        return self.server / "admin.sock"

    @property
    def socket(self) -> Path:
        """The agent's socket, for workloads and their proxies."""
        return self.root / "agent.sock"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.root / "logs"


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Stage:
    """One demo in one folder: everything it starts, it ends."""

    def __init__(self, root: Path, say: Callable[[str], None], *, hold: bool = False) -> None:
        self.places = Places(root)
        for folder in (root, self.places.intent, self.places.logs, root / "registry"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._say = say
        self._hold = hold  # nobody will talk to the probes: they just stay
        self.listen = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.ports = {"REGISTRY_PORT": str(free_port()), "HUB_PORT": str(free_port())}
        env = {"RINGFENCE_ADMIN_SOCKET": str(self.places.admin), "PYTHONUNBUFFERED": "1"}
        self.children = Children(self.places.logs, env)
        self.trainer = Probe(self.children, "trainer")
        self.notebook = Probe(self.children, "notebook")

    async def set(self) -> None:
        """Start everything; raises with the log's end of whatever did not start."""
        self._say("hub, an external model registry outside the mesh")
        await self._start_hub()
        self._write_intent()
        self._say("server: authorities, registry, xDS")
        await self.start_server()
        await self._start_agent()
        self._say("workloads, each behind its own Envoy: features, registry, trainer, notebook")
        async with asyncio.TaskGroup() as group:
            for name, namespace, script in (
                ("features", "team-a", "features.py"),
                ("registry", "shared", "registry.py"),
            ):
                group.create_task(self._serve(name, namespace, script))
        await asyncio.gather(self._probe("trainer", "team-a"), self._probe("notebook", "team-b"))
        if not self._hold:
            await self.trainer.ready()
            await self.notebook.ready()

    async def start_server(self) -> None:
        """Start the server, again after a crash, and wait until it is ready."""
        await self.children.start(
            "server", *RINGFENCE, "server", "run",
            "--trust-domain", TRUST_DOMAIN, "--data-dir", str(self.places.server),
            "--listen", self.listen, "--http-listen", self.http, "--intent", str(self.places.intent),
        )  # fmt: skip
        await self._until("server", lambda: self.places.admin.exists() and _healthy(self.http))

    async def _start_agent(self) -> None:
        token = json.loads(await self.command("token", "generate", "-o", "json"))["token"]
        self._say("agent: attests this node with a join token")
        http = f"127.0.0.1:{free_port()}"
        await self.children.start(
            "agent", *RINGFENCE, "agent", "run", "--server", self.listen, "--trust-domain", TRUST_DOMAIN,
            "--bootstrap-bundle", str(self.places.server / "bundle.pem"), "--data-dir", str(self.places.agent),
            "--socket", str(self.places.socket), "--http-listen", http,
            env={"RINGFENCE_JOIN_TOKEN": token},
        )  # fmt: skip
        await self._until("agent", lambda: _healthy(http))

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

    def run_command(self, name: str, namespace: str, *command: str) -> tuple[str, ...]:
        """`ringfence run` of one workload."""
        return (
            *RINGFENCE, "run", "--socket", str(self.places.socket), "--server", self.listen,
            "--name", name, "--namespace", namespace, "--", *command,
        )  # fmt: skip

    async def train(self) -> tuple[int, str]:
        """The training job itself, from its start to its end: exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.run_command("trainer", "team-a", sys.executable, str(WORKLOADS / "trainer.py")),
            stdout=asyncio.subprocess.PIPE,
            stderr=(self.places.logs / "training.log").open("wb"),
            env=os.environ | self.children.env,
        )
        self.children.running["training"] = process
        out, _ = await process.communicate()
        self.children.running.pop("training", None)
        return process.returncode or 0, out.decode()

    async def _start_hub(self) -> None:
        ca = self.places.root / "hub-ca.pem"
        await self.children.start(
            "hub", sys.executable, str(WORKLOADS / "hub.py"),
            env={"PORT": self.ports["HUB_PORT"], "HUB_CA_FILE": str(ca)},
        )  # fmt: skip
        await self._until("hub", ca.exists)
        shutil.copy(ca, self.places.intent / "hub-ca.pem")

    async def _serve(self, name: str, namespace: str, script: str) -> None:
        ready = self.places.root / f"{name}.ready"
        await self.children.start(
            name, *self.run_command(name, namespace, sys.executable, str(WORKLOADS / script)),
            env={
                "PORT": self.ports["REGISTRY_PORT"],
                "MODELS": str(self.places.root / "registry"),
                "DATA": str(self.places.root / "postgres"),
                "READY_FILE": str(ready),
            },
        )  # fmt: skip
        await self._until(name, ready.exists)

    async def _probe(self, name: str, namespace: str) -> None:
        hold = ("--hold",) if self._hold else ()
        command = self.run_command(name, namespace, sys.executable, str(WORKLOADS / "probe.py"), *hold)
        await self.children.start(name, *command, talk=not self._hold)

    def _write_intent(self) -> None:
        facts = {
            "UID": str(os.getuid()),
            "REGISTRY_PORT": self.ports["REGISTRY_PORT"],
            "HUB_ADDRESS": f"127.0.0.1:{self.ports['HUB_PORT']}",
            "HUB_CA_FILE": "hub-ca.pem",
        }
        for document in INTENT.iterdir():
            (self.places.intent / document.name).write_text(fill_in(document.read_text(), facts))

    async def _until(self, name: str, done: Callable[[], bool]) -> None:
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
