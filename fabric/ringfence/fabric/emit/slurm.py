"""Lines of slurm.conf for a fabric whose partitions Slurm hands out itself, one to each job (slurm.conf(5))."""

from __future__ import annotations

import re

from ringfence.fabric.emit.asked import Asked
from ringfence.policy.fabrics import FabricKind

_SPAN = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_MOST = 65535  # of the 16 bits that a VNI has


def switch(asked: Asked) -> str:
    """VNIs of Slingshot from a pool, or channels of IMEX; all else of that file is the cluster's own."""
    asked.only(FabricKind.SLINGSHOT, FabricKind.NVLINK, why="Slurm parts no other wire by job")
    lines = ["SwitchType=switch/nvidia_imex"]
    if asked.fabric.kind is FabricKind.SLINGSHOT:
        first, last = _pool(asked)
        lines = ["SwitchType=switch/hpe_slingshot", f"SwitchParameters=vnis={first}-{last}"]
    return "".join(f"{line}\n" for line in (f"# {asked.comment()}", *lines))


def _pool(asked: Asked) -> tuple[int, int]:
    text = asked.needs("--vnis", asked.facts.vnis)
    found = _SPAN.fullmatch(text)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < first < last <= _MOST:
        raise asked.refused(f"was given {text!r}, which is no pool of VNIs", f"Write FIRST-LAST, from 1 to {_MOST}")
    own = asked.fabric.partition
    if own is not None and first <= own.number <= last:
        what = f"has {own}, which Slurm would hand to any job out of {text}"
        raise asked.refused(what, "Leave it out of the pool, or the partition out of the fabric")
    return first, last
