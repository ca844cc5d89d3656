"""Sets the laptop's stage: hub, intent, server, agent, and each workload behind its own Envoy."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from ringfence.broker.demo.plane import Plane, free_port
from ringfence.broker.demo.processes import FOLDER, Probe

TRUST_DOMAIN = "demo.ringfence.dev"
WORKLOADS = files("ringfence.broker.demo") / "workloads"
INTENT = files("ringfence.broker.demo") / "intent"


class Stage(Plane):
    """One node, a hub outside the mesh, and four workloads."""

    def __init__(self, root: Path, say: Callable[[str], None], *, hold: bool = False) -> None:
        super().__init__(root, say, TRUST_DOMAIN)
        for name in ("registry", "postgres", "ready"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        self.bare["notebook"] = "it goes around its proxy, to be refused by those of others"
        if os.geteuid() == 0:
            self.bare["features"] = "PostgreSQL will not be root, which it could only leave with privileges"
        self._hold = hold  # nobody will talk to the probes: they just stay
        self.ports = {"REGISTRY_PORT": str(free_port()), "HUB_PORT": str(free_port())}
        self.trainer = Probe(self.children, "trainer")
        self.notebook = Probe(self.children, "notebook")

    async def set(self) -> None:
        """Start everything; raises with the log's end of whatever did not start."""
        self.say("hub, an external model registry outside the mesh")
        await self._start_hub()
        self._write_intent()
        self.say("server: authorities, registry, xDS")
        await self.start_server()
        self.say("agent: attests this node with a join token")
        await self.start_agent()
        self.say("workloads, each behind its own Envoy: features, registry, trainer, notebook")
        await self.try_walls()
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

    async def train(self) -> tuple[int, str]:
        """The training job itself, from its start to its end: exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.run_command("trainer", "team-a", sys.executable, str(WORKLOADS / "trainer.py")),
            stdout=asyncio.subprocess.PIPE,
            stderr=(self.places.logs / "training.log").open("wb"),
            env=os.environ | self.children.env,
            cwd=FOLDER,
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
        await self.until("hub", ca.exists)
        shutil.copy(ca, self.places.intent / "hub-ca.pem")

    async def _serve(self, name: str, namespace: str, script: str) -> None:
        ready = self.places.root / "ready" / name
        share = [self.places.root / folder for folder in ("registry", "postgres", "ready")]
        await self.children.start(
            name, *self.run_command(name, namespace, sys.executable, str(WORKLOADS / script), share=share),
            env={
                "PORT": self.ports["REGISTRY_PORT"],
                "MODELS": str(self.places.root / "registry"),
                "DATA": str(self.places.root / "postgres"),
                "READY_FILE": str(ready),
            },
        )  # fmt: skip
        await self.until(name, ready.exists)

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
        self.write_intent(INTENT, facts)
