"""Machines of the training scenario, as the kernel has them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from ringfence.broker.demo.training.wires import PORTS, Machine, Wires
from ringfence.certs.errors import Kind, RingfenceError
from tests import parts

DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 20)
except OSError as error:
    print(type(error).__name__)
"""
HUB, ONE, TWO = Machine("hub", 254), Machine("one", 1), Machine("two", 2)


def test_machines_reach_each_other_on_both_networks_and_leave_nothing() -> None:
    """Gloo, which lets the kernel choose its port, gets one of the fabric's."""
    parts.root()
    parts.program("nft", "nftables")

    wires, found = Wires(HUB, (ONE, TWO)), []

    def within(machine: Machine, *command: str) -> str:
        return subprocess.run(
            wires.within(machine, *command), capture_output=True, text=True, check=False
        ).stdout.strip()

    async def play() -> None:
        try:
            await wires.make()
            dial = (within, ONE, sys.executable, "-c", DIAL)
            found.extend([await asyncio.to_thread(*dial, host) for host in (TWO.control, TWO.fabric, HUB.control)])
            found.append(await asyncio.to_thread(within, TWO, "cat", "/proc/sys/net/ipv4/ip_local_port_range"))
        finally:
            await wires.clear()

    asyncio.run(play())
    assert found[:3] == ["ConnectionRefusedError"] * 3  # which only a machine that is reached can say
    assert found[3].split() == PORTS.split()
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not {wires.namespace(machine) for machine in (HUB, ONE, TWO)} & set(left.split())


def test_what_ip_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken, and no leave, are not swallowed."""
    parts.program("ip", "iproute2")
    parts.program("nft", "nftables")
    monkeypatch.setattr(Wires, "namespace", lambda *_: "a/b")
    with pytest.raises(RingfenceError, match="`ip netns add a/b` failed") as caught:
        asyncio.run(Wires(HUB, ()).make())
    assert caught.value.kind is Kind.UNAVAILABLE
