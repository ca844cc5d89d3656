"""Two nodes that believe to be on one wire, and a router between them that answers for both and takes small packets."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack

from tests import parts

JUMBO, SMALL = 9000, 1400  # bytes


class Hop:
    """`rank` and `peer` share a network; `router` has an end of each one's wire, and forwards."""

    RANK, PEER = "10.91.0.1", "10.91.0.2"

    def __init__(self, exits: ExitStack) -> None:
        parts.root()
        self._ip = parts.program("ip", "iproute2")
        self.rank, self.router, self.peer = (f"rf{os.getpid()}h{end}" for end in "rmp")
        for name in (self.rank, self.router, self.peer):
            self.ip("netns", "add", name)
            exits.callback(self.ip, "netns", "del", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        for name, address, wire, mtu in ((self.rank, self.RANK, "w1", JUMBO), (self.peer, self.PEER, "w2", SMALL)):
            self.ip("-n", name, "link", "add", "fab0", "mtu", str(mtu), "type", "veth",
                    "peer", "name", wire, "mtu", str(mtu), "netns", self.router)  # fmt: skip
            self.ip("-n", name, "address", "add", f"{address}/24", "dev", "fab0")
            self.ip("-n", name, "link", "set", "fab0", "up")
            self.ip("-n", self.router, "link", "set", wire, "up")
            self.ip("-n", self.router, "route", "add", f"{address}/32", "dev", wire)
        settings = "echo 1 > ip_forward; for wire in w1 w2; do echo 1 > conf/$wire/proxy_arp; done"
        done = self.inside(self.router, "sh", "-ec", f"cd /proc/sys/net/ipv4; {settings}")
        assert done.returncode == 0, done.stderr

    def ip(self, *arguments: str) -> None:
        """Have the kernel make or change something."""
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)

    def inside(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in one of the namespaces."""
        return subprocess.run(
            [self._ip, "netns", "exec", name, *command], capture_output=True, text=True, check=False, timeout=120
        )
