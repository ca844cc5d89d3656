"""Sets the stage: a server, two nodes of the job, one of another tenant, and a stranger on the fabric."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ringfence.broker.demo.plane import Plane
from ringfence.broker.demo.processes import RINGFENCE, Probe
from ringfence.broker.demo.training.wires import Machine, Wires
from ringfence.certs.errors import Kind, RingfenceError

TRUST_DOMAIN = "training.ringfence.dev"
INTENT = files("ringfence.broker.demo.training") / "intent"
WORKLOADS = files("ringfence.broker.demo.training") / "workloads"
PROBE = files("ringfence.broker.demo") / "workloads" / "probe.py"
FABRIC, JOB, STORE = "platform/rail", "team-a/llm", 29500
HUB = Machine("hub", 254)
NODES = (Machine("node0", 1), Machine("node1", 2))  # of the job, by rank
OTHERS = Machine("node2", 3)  # team-b's
STRANGER = Machine("stranger", 9)  # a host with a wire to the fabric and no agent
STEPS = 30
TRAINED_WITHIN, JOINED_WITHIN = 120.0, 30.0  # seconds
# Debian's torch 1.13 reads "0", the default of these two, wrongly with Python 3.11.
_TORCH_1_13 = {"PET_TEE": "1", "PET_REDIRECTS": "1"}


def rank_id(rank: int) -> str:
    """The identity of a rank of the job."""
    namespace, _, job = JOB.partition("/")
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/job/{job}/rank/{rank}"


class TrainingStage(Plane):
    """Machines in network namespaces, and everything that runs on them."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        super().__init__(root, say, TRUST_DOMAIN)
        self.listen = f"{HUB.control}:8443"
        self.wires = Wires(HUB, (*NODES, OTHERS, STRANGER))
        self.python = ""
        self.intruder = Probe(self.children, "intruder")
        for name in ("run", "ranks"):
            (root / name).mkdir(mode=0o700)
        self.children.env["XDG_RUNTIME_DIR"] = str(root / "run")

    async def set(self) -> None:
        """Start everything but the job; raises NOT_FOUND without PyTorch, and what does not start."""
        self.python = await _python_with_torch()
        self.say("five machines as network namespaces, each with a wire to a control network and one to a fabric")
        await self.wires.make()
        self.write_intent(INTENT, {"UID": str(os.getuid())})
        self.say("server; an agent that keeps fabrics on each of three")
        await self.start_server()
        machines = (*NODES, OTHERS)
        tokens = await self._tokens(len(machines))
        await asyncio.gather(*(self._start_node(*each) for each in zip(machines, tokens, strict=True)))

    async def clear(self) -> None:
        """End every process, then remove folders and namespaces."""
        await super().clear()
        await self.wires.clear()

    async def start_server(self) -> None:
        """On the hub."""
        command = (
            *(*RINGFENCE, "server", "run", "--trust-domain", self.trust_domain, "--listen", self.listen),
            *("--data-dir", str(self.places.server), "--http-listen", "127.0.0.1:8080"),
            *("--intent", str(self.places.intent)),
        )
        await self.children.start("server", *self.wires.within(HUB, *command))
        await self.until("server", lambda: _answers(self.places.admin, "Server", "Info"))

    async def _tokens(self, count: int) -> list[str]:
        from ringfence.admin.v1 import admin_pb2
        from ringfence.broker.cli.admin_client import admin_client

        async with admin_client(self.places.admin) as admin:
            made = [await admin.GenerateToken(admin_pb2.GenerateTokenRequest(ttl=600)) for _ in range(count)]
        return [one.token for one in made]

    async def _start_node(self, machine: Machine, token: str) -> None:
        name = f"agent-{machine.name}"
        command = (
            *(*RINGFENCE, "agent", "run", "--fabric", "--server", self.listen, "--trust-domain", self.trust_domain),
            *("--bootstrap-bundle", str(self.places.server / "bundle.pem")),
            *("--data-dir", str(self.places.agent(name)), "--socket", str(self.places.socket(name)), "--hold", "3"),
        )
        await self.children.start(name, *self.wires.within(machine, *command), env={"RINGFENCE_JOIN_TOKEN": token})
        admin = Path(f"{self.places.socket(name)}.admin")
        await self.until(name, lambda: _answers(admin, "Launcher", "Info"))

    def run_on(self, machine: Machine, namespace: str, *words: str) -> tuple[str, ...]:
        """`ringfence run` of the trainer of *namespace* there; *words* are further options, `--` and the command."""
        socket = self.places.socket(f"agent-{machine.name}")
        run = (*RINGFENCE, "run", "--socket", str(socket), "--name", "trainer", "--namespace", namespace)
        return self.wires.within(machine, *run, "--inbound-host", machine.control, *words)

    async def start_rank(self, rank: int) -> int:
        """A rank of the job, and the pid of its launcher, which is on its machine by then."""
        machine = NODES[rank]
        torchrun = ("-m", "torch.distributed.run", f"--nnodes={len(NODES)}", "--nproc_per_node=1")
        command = self.run_on(
            machine,
            "team-a",
            *("--fabric", FABRIC, "--rank", str(rank), "--", self.python, *torchrun, str(WORKLOADS / "train.py")),
        )
        # What torchrun leaves in a temporary folder when it is ended goes with everything else.
        own = {"SAID": str(self._said(rank)), "STEPS": str(STEPS), "TMPDIR": str(self.places.root / "ranks")}
        env = {**_TORCH_1_13, **own}
        await self.children.start(f"rank-{rank}", *command, env=env)
        pid, inode = self.children.running[f"rank-{rank}"].pid, self.wires.inode(machine)
        await self.until(f"rank-{rank}", lambda: Path(f"/proc/{pid}/ns/net").stat().st_ino == inode)
        return pid

    async def start_intruder(self) -> None:
        """A rank of team-b's job, which does what it is told; back when it has its identity."""
        command = self.run_on(OTHERS, "team-b", "--rank", "0", "--", sys.executable, str(PROBE))
        await self.children.start("intruder", *command, talk=True)
        await self.intruder.ready()

    def _said(self, rank: int) -> Path:
        return self.places.root / "ranks" / f"{rank}.jsonl"

    def said(self, rank: int) -> list[dict[str, Any]]:
        """What a rank has written: a step a line."""
        path = self._said(rank)
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    async def trained(self, rank: int) -> dict[str, Any]:
        """What a rank said once its steps were done; raises UNAVAILABLE when it ended, TIMEOUT."""
        try:
            async with asyncio.timeout(TRAINED_WITHIN):
                while True:
                    for line in self.said(rank):
                        if line.get("trained"):
                            return line
                    self.children.require_alive(f"rank-{rank}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise RingfenceError(
                Kind.TIMEOUT, f"rank {rank} has not trained; it said last:\n{self.children.log_tail(f'rank-{rank}')}"
            ) from None

    def environment(self) -> dict[str, str]:
        """Of what runs beside the demo's own processes."""
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return {**os.environ, **self.children.env, "PATH": path}

    async def on(self, machine: Machine, *command: str) -> str:
        """What a command prints on a machine; empty where it fails."""
        process = await asyncio.create_subprocess_exec(
            *self.wires.within(machine, *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self.environment(),
        )
        out, _ = await process.communicate()
        return out.decode() if process.returncode == 0 else ""

    async def members(self, machine: Machine) -> frozenset[str]:
        """The addresses in the job's set on a machine, as its kernel has it."""
        listing = await self.on(
            machine, "nft", "-j", "list", "set", "inet", f"ringfence-fabric/{FABRIC}", f"job4/{JOB}"
        )
        sets = [item["set"] for item in json.loads(listing or "{}").get("nftables", []) if "set" in item]
        return frozenset(_address(element) for one in sets for element in one.get("elem", []))


def _address(element: Any) -> str:
    return str(element["elem"]["val"]) if isinstance(element, dict) else str(element)


def _answers(socket: Path, service: str, method: str) -> bool:
    """Whether a method without arguments answers there."""
    import grpc

    from ringfence.admin.v1 import admin_pb2
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of

    if not socket.exists():
        return False
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        client: Any = Client(channel, service_of(admin_pb2, service))  # type: ignore[arg-type]  # one that blocks
        try:
            return bool(getattr(getattr(client, method)(admin_pb2.InfoRequest(), timeout=2), "ready", True))
        except grpc.RpcError:
            return False


async def _python_with_torch() -> str:
    """A Python that can import torch; raises NOT_FOUND."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"  # at once, unlike torch
    for python in filter(None, (sys.executable, shutil.which("python3", path="/usr/bin"))):
        tried = await asyncio.create_subprocess_exec(
            python, "-c", code, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if await tried.wait() == 0:
            return python
    what = "this demo trains with PyTorch, and no Python here has it"
    raise RingfenceError(
        Kind.NOT_FOUND,
        what,
        hint="Debian: apt-get install --no-install-recommends python3-torch; else pip install torch",
    )
