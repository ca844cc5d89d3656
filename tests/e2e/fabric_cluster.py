"""A server and two nodes with an agent each, on a control network and a fabric; a third host has no agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests import parts
from tests.e2e.fabric_nodes import PATIENCE, Namespaces
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE

SERVER = "10.90.0.254"
_PORT = 8443  # within a namespace that is the test's alone
# Joins, and prints each answer and how it ended; what it is told to do later it does.
_WORKLOAD = """
    import json, sys, threading, grpc
    from google.protobuf.json_format import MessageToDict
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of
    socket, fabric, job, *ports = sys.argv[1:]
    channel = grpc.insecure_channel(f"unix:{socket}.admin")
    request = pb.JoinFabricRequest(fabric=fabric, job=job, closed_ports=map(int, ports))
    call = Client(channel, service_of(pb, "Fabrics")).Join(request)
    def leave():
        sys.stdin.read()
        call.cancel()
    threading.Thread(target=leave, daemon=True).start()
    try:
        for answer in call:
            print(json.dumps(MessageToDict(answer)), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"code": error.code().name, "detail": error.details()}), flush=True)
"""


class Workload:
    """A process on a node that has joined, or tries to; `said` is what it was told, one value a message."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def answer(self) -> dict[str, Any]:
        """The first thing that it was told, waited for."""
        return until(lambda: self.said[0] if self.said else None, "an answer to Join", 40)

    def joined(self) -> dict[str, Any]:
        """The same, which is that it is in."""
        answer = self.answer()
        assert "code" not in answer, answer
        return answer

    def members(self, *addresses: str) -> None:
        """Wait until it was told last that these are the members."""

        def told() -> bool:
            return [one["address"] for one in self.said[-1].get("members", ())] == list(addresses)

        until(lambda: self.said and told(), f"members {addresses} in {self.said[-1:]}")

    def end(self) -> dict[str, Any]:
        """How its stream ended, waited for."""
        return until(lambda: next((one for one in self.said if "code" in one), None), "the end of the stream", 40)

    def close(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Node:
    """One node: its namespace, its addresses, and its agent."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.name = cluster.add(f"m{number}")
        self.address, self.control = f"10.91.0.{number}", f"10.90.0.{number}"
        self.socket = cluster.folder / f"agent{number}.sock"
        self.agent: subprocess.Popen[bytes] | None = None
        self._cluster, self._data = cluster, cluster.folder / f"agent{number}"
        cluster.wire(self.name, "ctl0", self.control)
        cluster.wire(self.name, "fab0", self.address)
        cluster.listen(self.name)

    def start(self, *arguments: str) -> None:
        """Start its agent and wait until it serves."""
        log = (self._cluster.folder / f"{self._data.name}.log").open("ab")
        with log:
            command = self._cluster.within(self.name, *RINGFENCE, "agent", "run", "--fabric", *arguments)
            self.agent = subprocess.Popen(
                [
                    *command,
                    *("--server", f"{SERVER}:{_PORT}", "--trust-domain", "example.org"),
                    *("--socket", str(self.socket), "--data-dir", str(self._data), "--log-level", "debug"),
                    *("--bootstrap-bundle", str(self._cluster.folder / "server" / "bundle.pem")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._serves, f"the agent of {self.name}: {self.log()}", 60)

    def log(self) -> str:
        """What its agent has said so far."""
        path = self._cluster.folder / f"{self._data.name}.log"
        return path.read_text()[-4000:] if path.exists() else ""

    def _serves(self) -> bool:
        assert self.agent is None or self.agent.poll() is None, self.log()
        with grpc.insecure_channel(f"unix:{self.socket}.admin") as channel:
            try:
                launcher: Any = Client(channel, service_of(admin, "Launcher"))  # type: ignore[arg-type]
                return bool(launcher.Info(admin.InfoRequest(), timeout=2).ready)
            except grpc.RpcError:
                return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End its agent."""
        if self.agent is not None:
            self.agent.send_signal(how)
            self.agent.wait(PATIENCE)
            self.agent = None

    def join(self, *ports: int, group: int = 1001, job: str = "team-a/llama") -> Workload:
        """A workload of that group joins."""
        command = (sys.executable, "-c", dedent(_WORKLOAD), str(self.socket), "team-a/fab", job, *map(str, ports))
        setpriv = (parts.program("setpriv", "util-linux"), "--regid", str(group), "--clear-groups")
        process = subprocess.Popen(
            self._cluster.within(self.name, *setpriv, *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        workload = Workload(process)
        self._cluster.exits.callback(workload.close)
        return workload

    def run(self, *command: str, text: str = "") -> str:
        """What a command prints there."""
        done = subprocess.run(
            self._cluster.within(self.name, *command),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> tuple[int, str]:
        """How `fabric status` ends there, and what it says."""
        command = (*RINGFENCE, "fabric", "status", "--socket", str(self.socket))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def members(self, job: str = "team-a/llama") -> dict[str, int]:
        """What the kernel has in the job's set: each address with the seconds that are left to it."""
        asked = f"nft -j list set inet ringfence-fabric/team-a/fab job4/{job} 2>/dev/null || true"
        listing = self.run("sh", "-c", asked)
        if not listing:
            return {}
        (found,) = (item["set"] for item in json.loads(listing)["nftables"] if "set" in item)
        return {one["elem"]["val"]: one["elem"]["expires"] for one in found.get("elem", ())}

    def holds(self, *addresses: str, job: str = "team-a/llama") -> None:
        """Wait until these and no others are the members there."""
        until(lambda: set(self.members(job)) == set(addresses), f"{addresses} on {self.name}: {self.members(job)}")


class Cluster(Namespaces):
    """All of it; the server has the bridges, and an address on the control network alone."""

    STRANGER = "10.91.0.9"

    def __init__(self, folder: Path, exits: ExitStack, intent: str) -> None:
        super().__init__(exits)
        self.folder, self.exits = folder, exits
        self.hub = self.add("ms")
        self._wires = 0
        for bridge in ("ctl", "fab"):
            self.ip("-n", self.hub, "link", "add", bridge, "type", "bridge")
            self.ip("-n", self.hub, "link", "set", bridge, "up")
        self.ip("-n", self.hub, "address", "add", f"{SERVER}/24", "dev", "ctl")
        (folder / "intent").mkdir()
        (folder / "intent" / "rules.yaml").write_text(intent)
        self.server: subprocess.Popen[bytes] | None = None
        exits.callback(self.stop_server)
        self.start_server()
        channel = grpc.insecure_channel(f"unix:{folder}/server/admin.sock")
        exits.callback(channel.close)
        self.admin: Any = Client(channel, service_of(admin, "Server"))  # type: ignore[arg-type]  # any channel will do
        self.nodes = [Node(self, number) for number in (1, 2)]
        self.stranger = self.add("m9")
        self.wire(self.stranger, "fab0", self.STRANGER)
        self.listen(self.stranger)
        for node in self.nodes:
            exits.callback(node.stop)
            node.start("--join-token", self.admin.GenerateToken(admin.GenerateTokenRequest(ttl=600)).token)

    def wire(self, name: str, device: str, address: str) -> None:
        """A wire from a host to the bridge of that network, up."""
        self._wires += 1
        end, bridge = f"w{self._wires}", device[:3]
        self.ip("-n", name, "link", "add", device, "type", "veth", "peer", "name", end, "netns", self.hub)
        self.ip("-n", self.hub, "link", "set", end, "master", bridge, "up")
        self.ip("-n", name, "address", "add", f"{address}/24", "dev", device)
        self.ip("-n", name, "link", "set", device, "up")

    def start_server(self) -> None:
        """Start the server, at first or again."""
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                self.within(
                    self.hub,
                    *(*RINGFENCE, "server", "run", "--trust-domain", "example.org"),
                    *("--data-dir", str(self.folder / "server"), "--listen", f"{SERVER}:{_PORT}"),
                    *("--intent", str(self.folder / "intent")),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._server_answers, "the server", 60)

    def _server_answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "server.log").read_text()[-4000:]
        with grpc.insecure_channel(f"unix:{self.folder}/server/admin.sock") as channel:
            try:
                client: Any = Client(channel, service_of(admin, "Server"))  # type: ignore[arg-type]
                client.Info(admin.InfoRequest(), timeout=2)
            except grpc.RpcError:
                return False
        return True

    def stop_server(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait(PATIENCE)
            self.server = None

    def apply(self, intent: str) -> None:
        """Put *intent* in force."""
        (self.folder / "intent" / "rules.yaml").write_text(intent)
        self.ringfence("policy", "apply", str(self.folder / "intent"))

    def ringfence(self, *arguments: str) -> str:
        """What a command prints that speaks to the server."""
        done = subprocess.run(
            [*RINGFENCE, *arguments],
            env={**os.environ, "RINGFENCE_DATA_DIR": str(self.folder / "server")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def silent(self, source: str, target: str, port: int) -> bool:
        """Whether the stranger gets no answer."""
        started = time.monotonic()
        found = self.reaches(self.stranger, source, target, port, 1)
        assert time.monotonic() - started < PATIENCE
        return found == "TimeoutError"
