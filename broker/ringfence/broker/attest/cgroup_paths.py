"""What the path of a cgroup tells of its process: container, pod, batch job. Only names that root alone can give count.

Whoever owns a cgroup may make others below it by any name. So every pattern is anchored at the root of the hierarchy
and leads through segments that only the system's own managers make; the first of them decides, and what stands below
is the workload's own. A process that the agent sees from inside another cgroup namespace has a path with `/..`: only
the pods beside the agent's own are told by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

_ID = r"([0-9a-f]{64})"
_UID = r"([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_BELOW = r"(?:/.*)?"
_SLICES = r"(?:/[^/]+\.slice)+"  # made by the system's systemd; a user's own hang below a .service
_QOS = r"(?:burstable|besteffort)"
_SCOPE = r"/system\.slice/(?:[^/]+_)?slurmstepd\.scope"

# Spellings by the cgroup driver: systemd, then cgroupfs (docker info, "Cgroup Driver").
_DOCKER = (
    re.compile(rf"{_SLICES}/docker-{_ID}\.scope{_BELOW}"),
    re.compile(rf"/docker/{_ID}{_BELOW}"),
)
_PODMAN = (
    re.compile(rf"{_SLICES}/libpod-{_ID}\.scope{_BELOW}"),
    re.compile(rf"/libpod_parent/(?:[^/]+/)?(?:libpod-)?{_ID}{_BELOW}"),
)
# The kubelet's --cgroup-root may add a prefix to every slice (kind: `kubelet-`).
_POD_SLICE = rf"{_SLICES}/(?:[a-z]+-)?kubepods(?:-{_QOS})?-pod{_UID}\.slice"
_POD_FOLDER = rf"(?:/kubelet)?/kubepods(?:/{_QOS})?/pod{_UID}"
# containerd told to use cgroupfs under a kubelet that uses systemd.
_POD_OF_TWO = rf"(?:/system\.slice/containerd\.service)?/kubepods(?:-{_QOS})?-pod{_UID}\.slice:cri-containerd:"
_KUBERNETES = (
    re.compile(_POD_SLICE + _BELOW),
    re.compile(_POD_FOLDER + _BELOW),
    re.compile(_POD_OF_TWO + "[^/]+" + _BELOW),
)
# From inside the agent's pod, whose runtime gave it a cgroup namespace. What is above the agent's own cgroup is the
# kubelet's, so that the first segments down from there are root's too: slices (a workload's own are below its .scope),
# or the kubelet's folders.
_UP = r"(?:/\.\.)+"
_HEADS = (
    (_POD_SLICE, rf"{_UP}(?:/[^/]+\.slice)*/(?:[a-z]+-)?kubepods(?:-{_QOS})?-pod{_UID}\.slice"),
    (_POD_FOLDER, rf"{_UP}(?:/kubepods)?(?:/{_QOS})?/pod{_UID}"),
    (_POD_OF_TWO, rf"{_UP}/kubepods(?:-{_QOS})?-pod{_UID}\.slice:cri-containerd:"),
)
# The container is right below its pod; what it makes below itself may have any name.
_TAILS = (rf"/(?:cri-containerd|crio|docker)-{_ID}\.scope", rf"/(?:crio-)?{_ID}", _ID)
_CONTAINERS = tuple(
    re.compile(head + tail + _BELOW) for heads, tail in zip(_HEADS, _TAILS, strict=True) for head in heads
)
# slurmstepd makes these; the user's processes are in or below its step.
_SLURM = re.compile(
    _SCOPE
    + r"/(?:job_(?P<job_id>[0-9]{1,10})|(?P<sluid>s[0-9A-Za-z]{1,31}))"  # the latter since 26.05, by default
    + r"/step_(?P<step>[0-9]{1,10}|batch|extern|interactive)"
    + _BELOW
)
# Version 1 has a hierarchy for each controller; those of systemd and of the controllers that every runtime uses.
_UNIFIED, _V1 = "", {"name=systemd", "pids", "memory", "devices", "cpu"}


def docker(cgroups: Mapping[str, str]) -> dict[str, str]:
    """The container, 64 hex digits."""
    return _one(cgroups, _DOCKER, "container_id")


def podman(cgroups: Mapping[str, str]) -> dict[str, str]:
    """The container; a rootful one only, since a rootless one's cgroup could have any name."""
    return _one(cgroups, _PODMAN, "container_id")


def k8s(cgroups: Mapping[str, str]) -> dict[str, str]:
    """The pod, by its UID as the API has it (a static pod's is 32 hex digits)."""
    return {name: uid.replace("_", "-") for name, uid in _one(cgroups, _KUBERNETES, "pod-uid").items()}


def pod(cgroups: Mapping[str, str]) -> tuple[str, str]:
    """The pod's UID and the id of the container in it, each empty where the path does not tell."""
    found = _found(cgroups, _CONTAINERS)
    if len(found) != 1:
        return k8s(cgroups).get("pod-uid", ""), ""
    [(uid, container_id)] = found
    return uid.replace("_", "-"), container_id


def slurm(cgroups: Mapping[str, str]) -> dict[str, str]:
    """`job_id` or `sluid`, and `step`; of the unified hierarchy only, which Slurm's cgroup/v2 plugin uses."""
    found = _SLURM.fullmatch(cgroups.get(_UNIFIED, ""))
    return {name: value for name, value in found.groupdict().items() if value} if found else {}


FACTS: dict[str, Callable[[Mapping[str, str]], dict[str, str]]] = {
    "docker": docker,
    "k8s": k8s,
    "podman": podman,
    "slurm": slurm,
}


def _one(cgroups: Mapping[str, str], patterns: Sequence[re.Pattern[str]], name: str) -> dict[str, str]:
    """What the hierarchies say, if all that say anything say the same: else somebody moved it in one of them."""
    found = _found(cgroups, patterns)
    return {name: found.pop()[0]} if len(found) == 1 else {}


def _found(cgroups: Mapping[str, str], patterns: Sequence[re.Pattern[str]]) -> set[tuple[str, ...]]:
    """The groups of each pattern that a path fits."""
    paths = [path for names, path in cgroups.items() if names == _UNIFIED or set(names.split(",")) & _V1]
    return {match.groups() for path in paths for pattern in patterns if (match := pattern.fullmatch(path))}
