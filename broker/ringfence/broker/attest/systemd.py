"""The systemd attestor: the unit that a process belongs to, read from its cgroup."""

from __future__ import annotations

import asyncio
import re
import shutil

from ringfence.broker.attest import process_trees
from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import Selector

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope)")
_PATIENCE = 2.0  # seconds for systemctl to answer


class SystemdAttestor:
    """`systemd:id:UNIT`; `systemd:fragment_path:FILE` only when an entry asks for it and systemctl answers."""

    name = "systemd"
    facts = frozenset({"systemd:id", "systemd:fragment_path"})

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """The systemd selectors of *process*, none when it runs in no unit."""
        unit = unit_of(process_trees.cgroups(process.pid))
        if not unit:
            return frozenset()
        facts = {f"id:{unit}"}
        if "systemd:fragment_path" in wanted and (path := await _fragment_path(unit)):
            facts.add(f"fragment_path:{path}")
        return frozenset(Selector("systemd", fact) for fact in facts)


def unit_of(cgroups: dict[str, str]) -> str:
    """The system unit that a cgroup path names, or empty.

    The first unit on the path counts: what lies below it was delegated, so its owner could give it any name. A
    user's own manager (`user@1000.service`) is such an owner, so below it no unit is told.
    """
    path = cgroups.get("name=systemd") or cgroups.get("", "/")
    for segment in path.split("/"):
        if _UNIT.fullmatch(segment):
            return segment
    return ""


async def _fragment_path(unit: str) -> str:
    systemctl = await asyncio.to_thread(shutil.which, "systemctl")
    if not systemctl:
        return ""
    command = (systemctl, "show", "--property=FragmentPath", "--value", "--", unit)
    started = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            out, _ = await started.communicate()
    except TimeoutError:
        started.kill()
        await started.wait()
        return ""
    return out.decode("utf-8", "replace").strip() if started.returncode == 0 else ""
