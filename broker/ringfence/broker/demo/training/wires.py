"""Machines of the demo as network namespaces: each on a control network and on a fabric, joined by two bridges."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

CONTROL, FABRIC = "ctl0", "fab0"
_NETS = {CONTROL: "10.90.0", FABRIC: "10.91.0"}
_NAMED = Path("/run/netns")  # where ip-netns(8) keeps them
# What opens a port to be called back at, as gloo does, takes one of the fabric's.
PORTS = "50000 51000"


@dataclass(frozen=True, slots=True)
class Machine:
    """One, by the number that its addresses end with."""

    name: str
    number: int

    @property
    def control(self) -> str:
        """Its address on the control network."""
        return f"{_NETS[CONTROL]}.{self.number}"

    @property
    def fabric(self) -> str:
        """Its address on the fabric."""
        return f"{_NETS[FABRIC]}.{self.number}"


class Wires:
    """All machines and what joins them; names are of this process, so that two demos do not meet."""

    def __init__(self, hub: Machine, machines: Sequence[Machine]) -> None:
        self._hub, self._machines = hub, tuple(machines)
        self._made: list[str] = []

    def namespace(self, machine: Machine) -> str:
        """The name by which ip(8) knows it."""
        return f"rf{os.getpid()}{machine.name}"

    def inode(self, machine: Machine) -> int:
        """What /proc/PID/ns/net of its processes shows."""
        return (_NAMED / self.namespace(machine)).stat().st_ino

    def within(self, machine: Machine, *command: str) -> tuple[str, ...]:
        """*command* on that machine."""
        return ("ip", "netns", "exec", self.namespace(machine), *command)

    async def make(self) -> None:
        """All of it; raises UNAVAILABLE with what ip(8) says, NOT_FOUND without it or nft(8)."""
        await asyncio.to_thread(_require_programs)
        for machine in (self._hub, *self._machines):
            await _run("ip", "netns", "add", self.namespace(machine))
            self._made.append(self.namespace(machine))
        bridges = [f"link add {device} type bridge\nlink set {device} up" for device in _NETS]
        address = f"address add {self._hub.control}/24 dev {CONTROL}"
        await self._batch(self._hub, "\n".join((*bridges, address, "link set lo up")))
        for machine in self._machines:
            await self._join(machine)

    async def _join(self, machine: Machine) -> None:
        """A wire to each bridge."""
        hub, far = self.namespace(self._hub), []
        lines = ["link set lo up"]
        for device, net in _NETS.items():
            end = f"{device[:3]}{machine.number}"
            lines += [
                f"link add {device} type veth peer name {end} netns {hub}",
                f"address add {net}.{machine.number}/24 dev {device}",
                f"link set {device} up",
            ]
            far += [f"link set {end} master {device} up"]
        await self._batch(machine, "\n".join(lines))
        await self._batch(self._hub, "\n".join(far))
        await _run(*self.within(machine, "sysctl", "-qw", f"net.ipv4.ip_local_port_range={PORTS}"))

    async def _batch(self, machine: Machine, lines: str) -> None:
        await _run("ip", "-n", self.namespace(machine), "-batch", "-", text=f"{lines}\n")

    async def clear(self) -> None:
        """Remove what was made; whoever still runs in there keeps it until he ends."""
        while self._made:
            await _run("ip", "netns", "del", self._made.pop())


def _require_programs() -> None:
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None and shutil.which(program, path="/usr/sbin:/sbin") is None:
            raise RingfenceError(Kind.NOT_FOUND, f"there is no {program}", hint=f"apt-get install {package}")


async def _run(*command: str, text: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
    )
    _, said = await process.communicate(text.encode())
    if process.returncode:
        why = " ".join(said.decode(errors="replace").split())
        raise RingfenceError(Kind.UNAVAILABLE, f"`{' '.join(command)}` failed: {why}", hint="It takes root")
