"""Root over network namespaces for whoever is not root: the demo runs again as root of a user namespace of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from ringfence.broker.run.isolate_enter import refused
from ringfence.certs.errors import Kind, RingfenceError

# Set within: it is no root outside, and says so.
MARK = "RINGFENCE_DEMO_ROOTLESS"
# ip-netns(8) keeps its namespaces in /run, and there of all places such a root may not write.
_INSIDE = 'mount -t tmpfs tmpfs /run && exec "$@"'


def enter(json_file: Path | None) -> None:
    """Return where this process is root; else become the same command in a namespace in which it is.

    Raises DENIED where the kernel gives none, with its reason.
    """
    if os.geteuid() == 0:
        return
    why = asyncio.run(refused())
    if not why and shutil.which("unshare") is None:
        why = "there is no unshare (util-linux)"
    if why:
        what = (
            f"the training scenario makes machines of network namespaces, which takes root or a user namespace: {why}"
        )
        raise RingfenceError(Kind.DENIED, what, hint="Run it as root; the other scenarios take none")
    os.execvpe("unshare", command(json_file), os.environ | {MARK: "1"})  # noqa: S606  # the same program, within


def command(json_file: Path | None) -> list[str]:
    """The demo as root of namespaces that it is born in."""
    report = ["--json", str(json_file)] if json_file else []
    again = [sys.executable, "-m", "ringfence.broker.cli", "demo", "--scenario", "training", *report]
    return ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c", _INSIDE, "sh", *again]
