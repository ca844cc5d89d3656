"""Ranks of a job started by `ringfence run` on the nodes of a cluster: torchrun with gloo, behind Envoys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from textwrap import dedent
from typing import Any

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.run.admin import ask
from tests import parts
from tests.e2e.captured import everybodys_python
from tests.e2e.fabric_cluster import SERVER, Cluster, Node
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE

STORE = 29511  # in namespaces that are the test's alone, where 29500 is taken
BYTES = 8 << 20  # of one of the ROUNDS that every rank takes part in
ROUNDS = 6
DATA = BYTES * ROUNDS
INTENT = f"""
kind: Mesh
spec: {{trustDomain: example.org}}
---
kind: Fabric
metadata: {{name: fab, namespace: team-a}}
spec:
  kind: tcp
  interfaces: [fab0]
  cidrs: [10.91.0.0/24]
  ports: ["50001-51000"]
  tenants: [team-a]
  enforcedBy: host-firewall
---
kind: Workload
metadata: {{name: trainer, namespace: team-a}}
spec:
  role: training
  job: llama
  launch: {{by: [{{unix.uid: 0}}]}}
  serves: [{{name: c10d, port: {STORE}, protocol: tcp}}]
---
kind: Allow
metadata: {{name: ranks-meet, namespace: team-a}}
spec: {{from: [{{workload: trainer}}], to: [{{workload: trainer, port: c10d}}], owner: o, reason: r}}
---
kind: FabricGrant
metadata: {{name: llama, namespace: team-a}}
spec:
  {{fabric: {{name: fab}}, identities: [{{workload: trainer}}], job: llama, expires: 2999-01-01T00:00:00Z,
   owner: o, reason: r}}
"""
# Sums, says what came of it, and stays until its file is there. A ring of two sends each byte once, both ways.
SCRIPT = f"""
import os, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
data = torch.ones({BYTES} // 4)
for _ in range({ROUNDS}):
    dist.all_reduce(data)
print("sum", int(data[0]), flush=True)
dist.barrier()
open(os.environ["SAID"], "w").write(str(int(data[0])))
while not os.path.exists(os.environ["ENOUGH"]):
    time.sleep(0.05)
"""
# The torch of Debian reads "0", the default of these two, wrongly with this Python.
TORCH_1_13 = {"PET_TEE": "1", "PET_REDIRECTS": "1"}


class Rank:
    """One `ringfence run`; *flags* are added to what every rank has, in the network *within*."""

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        number: int,
        flags: Sequence[str] = (),
        within: str = "",
        *,
        torchrun: bool = True,
    ) -> None:
        self._cluster, self.node, self.number = cluster, node, number
        self._base = cluster.folder / f"rank{number}"
        self._base.mkdir(exist_ok=True)
        self._log = self._base / "log"
        self._said, self._enough = self._base / "said", self._base / "enough"
        self._flags, self._within, self._torchrun = tuple(flags), within or node.name, torchrun
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin."""
        path = self._base / "train.py"
        path.write_text(SCRIPT)
        own = ("--name", "trainer", "--namespace", "team-a", "--fabric", "fab", "--rank", str(self.number))
        run = (*RINGFENCE, "run", "--socket", str(self.node.socket), *own, *self._flags)
        torchrun = ("-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1") if self._torchrun else ()
        told = TORCH_1_13 if self._torchrun else {"RANK": str(self.number), "WORLD_SIZE": "2"}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._cluster.within(self._within, *run, "--", python(), *torchrun, str(path)),
                env={
                    **os.environ,
                    **told,
                    "XDG_RUNTIME_DIR": str(self._base),
                    "SAID": str(self._said),
                    "ENOUGH": str(self._enough),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def summed(self) -> int:
        """What its collectives came to, waited for."""
        return int(until(self._sum, f"the sum of rank {self.number}", 120))

    def _sum(self) -> str:
        assert self._begun.poll() is None, self.log
        return self._said.read_text() if self._said.exists() else ""

    def enough(self) -> None:
        """Let it end."""
        self._enough.touch()

    def code(self) -> int:
        """How it ended, waited for."""
        return self._begun.wait(60)

    def end(self) -> None:
        """However it stands."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    @property
    def _begun(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    @property
    def log(self) -> str:
        """What it and its command printed."""
        return self._log.read_text()

    @property
    def bootstrap(self) -> Any:
        """What its proxy was started with."""
        (path,) = self._base.glob("ringfence-run-*/envoy.json")
        return json.loads(path.read_text())

    def proxied(self) -> int:
        """Bytes that crossed its proxy, whichever way, but for those of the control plane."""
        (admin,) = self._base.glob("ringfence-run-*/admin.sock")
        stats = json.loads(ask(str(admin), "/stats?format=json"))["stats"]
        ours = ("cluster.ringfence_server.", "cluster.ringfence_agent.")
        return sum(
            one["value"]
            for one in stats
            if one.get("name", "").startswith("cluster.")
            and one["name"].endswith(("upstream_cx_tx_bytes_total", "upstream_cx_rx_bytes_total"))
            and not one["name"].startswith(ours)
        )


def decided(cluster: Cluster, rule: str) -> admin.Decision:
    """The last decision by that rule, waited for."""

    def find() -> admin.Decision | None:
        return next(iter([*cluster.admin.TailAuthz(admin.TailAuthzRequest(last=200, rule=rule))][::-1]), None)

    return until(find, f"a decision by {rule}")


def python() -> str:
    """The one that Debian made its PyTorch for, as everybody would start it."""
    parts.torch()
    return everybodys_python()


def sent(node: Node, device: str) -> int:
    """Bytes that left the node by one of its interfaces."""
    return int(node.run("cat", f"/sys/class/net/{device}/statistics/tx_bytes"))


def bounded(node: Node) -> None:
    """Have gloo listen, as everything in the node's network, on the fabric's ports."""
    node.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=50001 51000")


class Decoy:
    """A rank that serves the store's port too, as one does that was started without a word of rendezvous."""

    def __init__(self, cluster: Cluster, exits: ExitStack) -> None:
        base = cluster.folder / "decoy"
        base.mkdir()
        self._heard = base / "heard"
        code = f"""
            import socket
            server = socket.create_server(("127.0.0.1", {STORE}))
            while True:
                line, _ = server.accept()
                open({str(self._heard)!r}, "ab").write(line.recv(64) + b"!")
        """
        run = (
            *RINGFENCE,
            "run",
            "--socket",
            str(cluster.nodes[0].socket),
            "--name",
            "trainer",
            "--namespace",
            "team-a",
        )
        command = (*run, "--rank", "5", "--inbound-host", SERVER, "--", sys.executable, "-c", dedent(code))
        with (base / "log").open("wb") as log:
            process = subprocess.Popen(
                cluster.within(cluster.hub, *command),
                env={**os.environ, "XDG_RUNTIME_DIR": str(base)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        exits.callback(process.wait, 60)
        exits.callback(process.terminate)
        until(lambda: "c10d=" in cluster.ringfence("proxy", "status", "-o", "json"), (base / "log").read_text(), 60)

    @property
    def heard(self) -> bytes:
        """All that anybody said to it."""
        return self._heard.read_bytes() if self._heard.exists() else b""


class Job:
    """Both ranks, after their collectives, and what left each node by which wire meanwhile.

    *flags* are those of each; they run in their nodes' networks, or all in the network *within*.
    """

    def __init__(
        self,
        cluster: Cluster,
        exits: ExitStack,
        flags: Sequence[Sequence[str]],
        within: str = "",
        *,
        torchrun: bool = True,
    ) -> None:
        self.cluster = cluster
        for node in cluster.nodes:
            bounded(node)
        before = [(sent(node, "fab0"), sent(node, "ctl0")) for node in cluster.nodes]
        # The second first: it has to wait for the store of the other.
        self.ranks = [
            Rank(cluster, node, number, flags[number], within, torchrun=torchrun)
            for number, node in enumerate(cluster.nodes)
        ]
        for rank in reversed(self.ranks):
            exits.callback(rank.end)
            rank.start()
        self.sums = [rank.summed() for rank in self.ranks]
        after = [(sent(node, "fab0"), sent(node, "ctl0")) for node in cluster.nodes]
        self.sent = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(after, before, strict=True)]  # by fabric, by control

    @property
    def first(self) -> Rank:
        """That which has the store."""
        return self.ranks[0]

    def end(self) -> list[int]:
        """Let both end, and their exit codes."""
        for rank in self.ranks:
            rank.enough()
        return [rank.code() for rank in self.ranks]
