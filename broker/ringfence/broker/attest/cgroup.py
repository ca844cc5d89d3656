"""The cgroup attestor: the cgroups that a process is in, which only their owner can put it into."""

from __future__ import annotations

from ringfence.broker.attest import process_trees
from ringfence.broker.attest.launch_folder import outside
from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import Selector


class CgroupAttestor:
    """`cgroup:path:PATH` for the unified hierarchy and, on hybrid and v1 hosts, for systemd's own; `/` says nothing.

    The folder of a launch is left out: entries and launch rules name the cgroup that the launcher was started in.
    """

    name = "cgroup"
    facts = frozenset({"cgroup:path"})

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:  # noqa: ARG002  # the port's
        """The cgroup selectors of *process*."""
        found = process_trees.cgroups(process.pid)
        paths = {outside(found.get("", "/")), found.get("name=systemd", "/")} - {"/"}
        return frozenset(Selector("cgroup", f"path:{path}") for path in paths)
