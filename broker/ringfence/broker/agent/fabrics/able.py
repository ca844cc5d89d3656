"""Whether this process can keep fabrics at all: asked once, before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from ringfence.broker.fabric.apply_tools import run
from ringfence.certs.errors import Kind, RingfenceError

_STATUS, _SETTING = Path("/proc/self/status"), Path("/proc/sys/net/ipv4/conf/all/rp_filter")
_NET_ADMIN = 12  # CAP_NET_ADMIN, capabilities(7)


def check_able(status: Path = _STATUS, setting: Path = _SETTING) -> None:
    """Raise DENIED without CAP_NET_ADMIN or a /proc/sys to write, NOT_FOUND without nft(8) or ip(8).

    UNAVAILABLE where these do not work.
    """
    # 1. Leave to change filters, routes and settings.
    if not _effective(status) >> _NET_ADMIN & 1:
        hint = "Run it as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN"
        raise RingfenceError(Kind.DENIED, "an agent with --fabric needs CAP_NET_ADMIN", hint=hint)
    # 2. The tools that do it, and a kernel that takes what they say.
    run(("nft", "list", "tables"))
    run(("ip", "rule", "show"))
    # 3. Settings of interfaces: in many a unit or container they are there to be read alone.
    if not os.access(setting, os.W_OK):
        hint = "Mount /proc/sys for writing; under systemd, set ProtectKernelTunables=no"
        raise RingfenceError(
            Kind.DENIED, "an agent with --fabric writes settings of interfaces", where=str(setting), hint=hint
        )


def _effective(status: Path) -> int:
    lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
