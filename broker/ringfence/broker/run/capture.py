"""`ringfence run --capture`: the workload in a network namespace from which nothing leads but to its proxy."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ringfence.broker.run import capture_netns as netns
from ringfence.broker.run.capture_child import User, confined
from ringfence.broker.run.capture_exclusions import NOTHING, Exclusions
from ringfence.broker.run.capture_plan import CapturePlan, no_routes, removal, routes, ruleset
from ringfence.broker.run.plan import ProxyPlan
from ringfence.certs.errors import Kind, RingfenceError

# What making, entering and filling a namespace takes (capabilities(7)), and taking the command's own away.
_NEEDED = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for: a namespace by path, or a new one when that is empty; what is excluded; whom to be."""

    netns: str = ""
    exclusions: Exclusions = NOTHING
    user: User | None = None


def check_leave() -> None:
    """Refuse before anything is started what cannot work: raises DENIED or NOT_FOUND."""
    held = _effective()
    if lacking := [name for name, bit in _NEEDED.items() if not held >> bit & 1]:
        raise RingfenceError(
            Kind.DENIED,
            f"--capture needs {', '.join(lacking)}",
            hint="Run it as root; without --capture the command finds its upstreams in its environment",
        )
    netns.program("nft", "nftables")
    netns.program("ip", "iproute2")


class Capture:
    """The namespace of one run, from its making to its end, with or without what was wrong in between."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._descriptor = -1

    def __enter__(self) -> Self:
        path = self._wanted.netns
        self._descriptor = netns.found(path) if path else netns.made()
        return self

    def __exit__(self, *_: object) -> None:
        if self._wanted.netns:
            # It lives on without us. One that we made ends with the last process in it, and all in it with it.
            with suppress(RingfenceError):
                netns.within(self._descriptor, (_nft(), removal()), (_ip(), no_routes()))
        os.close(self._descriptor)

    @property
    def path(self) -> str:
        """The namespace as a file that the proxy can open while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def apply(self, plan: ProxyPlan) -> None:
        """Deny everything but the way to the proxy, in one transaction; raises NOT_FOUND or UNAVAILABLE."""
        netns.check_interfaces(self._descriptor, self._wanted.exclusions.interfaces)
        served = tuple(sorted((port, plan.last.get(name, 0)) for name, port in plan.served.items() if port))
        rules = ruleset(CapturePlan(self._wanted.exclusions, served))
        # The rules come first: there is no moment in which the namespace has a route and no rule.
        netns.within(self._descriptor, (_nft(), rules), (_ip(), routes()))

    def bound(self, host: str, port: int) -> socket.socket:
        """A listening socket's beginning there; raises OSError."""
        return netns.bound(self._descriptor, host, port)

    def give(self, folder: Path) -> None:
        """Let the command's user reach the folder of its sockets, and nothing beside it; every file there is ours."""
        if (user := self._wanted.user) is not None:
            os.chown(folder, user.uid, user.gid)
            folder.parent.chmod(0o711)

    def confined(self) -> Callable[[], None]:
        """What the command does between fork and exec."""
        return confined(self._descriptor, self._wanted.user)


def _nft() -> tuple[str, ...]:
    return netns.program("nft", "nftables"), "-f", "-"


def _ip() -> tuple[str, ...]:
    return netns.program("ip", "iproute2"), "-batch", "-"


def _effective() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
