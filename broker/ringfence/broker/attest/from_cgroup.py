"""The attestors docker, k8s, podman and slurm: what the cgroup's path alone tells, with no daemon asked."""

from __future__ import annotations

from ringfence.broker.attest import process_trees
from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import Selector


class PathAttestor:
    """One manager's facts (a WorkloadAttestor). The patterns are loaded when an entry first asks for them."""

    def __init__(self, name: str, *facts: str) -> None:
        self.name = name
        self.facts = frozenset(f"{name}:{fact}" for fact in facts)

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """What the path says of *process*, none when that manager did not start it."""
        from ringfence.broker.attest import cgroup_paths

        found = cgroup_paths.FACTS[self.name](process_trees.cgroups(process.pid))
        selectors = (Selector(self.name, f"{fact}:{value}") for fact, value in found.items())
        return frozenset(s for s, fact in zip(selectors, found, strict=True) if f"{self.name}:{fact}" in wanted)


def path_attestors(*, k8s: bool = True) -> tuple[PathAttestor, ...]:
    """All of them; *k8s* is left out by those who ask an API of pods."""
    return (
        PathAttestor("docker", "container_id"),
        *((PathAttestor("k8s", "pod-uid"),) if k8s else ()),
        PathAttestor("podman", "container_id"),
        PathAttestor("slurm", "job_id", "sluid", "step"),
    )
