"""Sets the stage: three nodes, a scorer on two of them, and on the third the gateway and what everybody shares."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ringfence.broker.demo.plane import Plane, free_port
from ringfence.broker.demo.processes import Probe
from ringfence.broker.run.kernel import descendants_of

TRUST_DOMAIN = "bank.ringfence.dev"
INTENT = files("ringfence.broker.demo.fraud") / "intent"
WORKLOADS = "ringfence.broker.demo.fraud.workloads"
TTL = 50  # seconds that an SVID lives here: short, so that the control plane can be away for long
CUSTOMERS = 6
SHARED_FOLDERS = ("postgres", "records", "ready")  # what workloads behind walls see of the private folder


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: its agent, and where it stands."""

    agent: str
    region: str
    zone: str

    @property
    def scorer(self) -> str:
        """The process of its scorer."""
        return f"scorer-{self.zone}"


SHARED = Node("agent-0", "eu-west", "eu-west-0")
NEAR = Node("agent-1", "eu-west", "eu-west-1")  # the gateway's own region: scores everything while it is there
FAR = Node("agent-2", "eu-north", "eu-north-1")
NODES = (SHARED, NEAR, FAR)


class FraudStage(Plane):
    """The bank on one machine."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        super().__init__(root, say, TRUST_DOMAIN)
        runs = root / "run"
        for folder in (runs, *(root / name for name in (*SHARED_FOLDERS, "leaked"))):
            folder.mkdir(mode=0o700)
        # What is killed cannot remove its folder: here it goes with everything else.
        self.children.env["XDG_RUNTIME_DIR"] = str(runs)
        self.bare["gateway"] = "customers outside the mesh call it"
        if os.geteuid() == 0:
            self.bare["features"] = "PostgreSQL will not be root, which it could only leave with privileges"
        self.gateway = f"127.0.0.1:{free_port()}"
        self.customers = Probe(self.children, "customers")
        self.intruder = Probe(self.children, "intruder")

    async def set(self) -> None:
        """Start everything; raises with the log's end of whatever did not start."""
        self.write_intent(INTENT, {"UID": str(os.getuid()), "X509_TTL": f"{TTL}s"})
        self.say("server, and an agent in each of eu-west-0, eu-west-1 and eu-north-1")
        await self.start_server()
        await asyncio.gather(*(self._start_node(node) for node in NODES))
        await self.try_walls()
        self.say("feature store, sink of decisions and core banking, each behind its own Envoy")
        await asyncio.gather(
            self._serve("features", "fraud", DATA=str(self.places.root / "postgres")),
            self._serve("decisions", "fraud", "records", PATHS="/decisions", RECORDS=str(self.records("decisions"))),
            self._serve(
                "core", "banking", "records", PATHS="/v1/holds /v1/transfers", RECORDS=str(self.records("core"))
            ),
        )
        self.say("scorers in eu-west-1 and eu-north-1, which train their model; the gateway")
        port = self.gateway.rpartition(":")[2]
        await asyncio.gather(self.start_scorer(NEAR), self.start_scorer(FAR), self._serve("gateway", "edge", PORT=port))
        env = {"GATEWAY": self.gateway, "CUSTOMERS": str(CUSTOMERS), "PAUSE": "0.1"}
        await self._talker("customers", env)
        await self._talker("intruder", {})

    @property
    def addresses(self) -> dict[str, str]:
        """What listens and is no proxy: each answers whoever comes, or asks for a certificate itself."""
        agents = {f"health of {node.agent}": self.agent_http[node.agent] for node in NODES}
        return {"server": self.listen, "health of the server": self.http, "gateway": self.gateway, **agents}

    def agent_sockets(self) -> list[str]:
        """The Workload API of each node."""
        return [str(self.places.socket(node.agent)) for node in NODES]

    def foreign_records(self, name: str, caller: str) -> list[str]:
        """What a service has kept of any other caller."""
        path = self.records(name)
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if f"URI={caller}" not in json.loads(line)["caller"]]

    def records(self, name: str) -> Path:
        """What a service has kept, as JSON lines."""
        return self.places.root / "records" / f"{name}.jsonl"

    async def start_scorer(self, node: Node) -> None:
        """A scorer on *node*; back when it has trained and serves."""
        program = (sys.executable, "-m", f"{WORKLOADS}.scorer")
        command = self.run_command("scorer", "fraud", *program, agent=node.agent, share=[self.places.root / "leaked"])
        await self.children.start(node.scorer, *command, talk=True)
        await Probe(self.children, node.scorer).ready()

    async def bring_back(self, node: Node) -> None:
        """Start a node again that was lost."""
        await self._start_node(node)
        await self.start_scorer(node)

    async def lose(self, node: Node) -> float:
        """SIGKILL for every process of *node* at once; gives the monotonic time of it."""
        lost = [self.children.running.pop(name) for name in (node.agent, node.scorer)]
        pids = [process.pid for process in lost] + [pid for process in lost for pid in descendants_of(process.pid)]
        at = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for process in lost:
            await process.wait()
        return at

    async def leaked(self, node: Node) -> Path:
        """The folder to which an attacker in that scorer has copied its key, certificate and bundle."""
        folder = self.places.root / "leaked"
        await Probe(self.children, node.scorer).ask("leak", leak=str(folder))
        return folder

    async def _start_node(self, node: Node) -> None:
        await self.start_agent(node.agent, "--region", node.region, "--zone", node.zone, "--hold", "2")

    async def _serve(self, name: str, namespace: str, module: str = "", **env: Any) -> None:
        ready = self.places.root / "ready" / name
        share = [self.places.root / folder for folder in SHARED_FOLDERS]
        program = (sys.executable, "-m", f"{WORKLOADS}.{module or name}")
        command = self.run_command(name, namespace, *program, agent=SHARED.agent, share=share)
        await self.children.start(name, *command, env={"READY_FILE": str(ready), **env})
        await self.until(name, ready.exists)

    async def _talker(self, name: str, env: dict[str, str]) -> None:
        await self.children.start(name, sys.executable, "-m", f"{WORKLOADS}.{name}", env=env, talk=True)
        await Probe(self.children, name).ready()
