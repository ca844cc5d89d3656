"""A PrologSlurmctld that lets no job onto a fabric's nodes whose tenant has no grant in force (slurm.conf(5)).

Slurm hands a partition of Slingshot or a channel of IMEX to whoever may submit a job, and knows of no grant.
"""

from __future__ import annotations

import re
from datetime import datetime

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.network_policy import members
from ringfence.policy.fabrics import FabricKind

_GROUP = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")  # useradd(8); and no character that a shell or a pattern knows
_PARTITION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SCRIPT = """\
#!/bin/sh
# {comment}
# PrologSlurmctld: a job of no tenant whose grant is in force does not start here. Emit it again when a grant changes.
case $SLURM_JOB_PARTITION in
  {partitions}) ;;
  *) exit 0 ;;
esac
case $SLURM_JOB_GROUP in
{groups}  *) until=0 ;;
esac
[ "$(date +%s)" -lt "$until" ] && exit 0
why="ringfence: group $SLURM_JOB_GROUP has no grant in force for fabric {fabric}"
logger -t ringfence-slurm "job $SLURM_JOB_ID: $why"
scontrol update JobId="$SLURM_JOB_ID" AdminComment="$why"
exit 1
"""


def script(asked: Asked) -> str:
    """The whole of it: the partitions of Slurm that it is for, and until when each group may."""
    asked.only(*FabricKind, why="")
    ends = _ends(asked)
    lines = [
        f"  {group}) until={int(ends[namespace].timestamp())} ;; # {namespace}, {ends[namespace].isoformat()}\n"
        for group, namespace in _groups(asked)
        if namespace in ends
    ]
    return _SCRIPT.format(
        comment=asked.comment(*asked.grants),
        partitions="|".join(_partitions(asked)),
        groups="".join(lines),
        fabric=asked.fabric.key,
    )


def _ends(asked: Asked) -> dict[str, datetime]:
    """By namespace, the last end of a grant that names a workload of it."""
    found: dict[str, datetime] = {}
    for grant in asked.grants:
        for namespace in members(asked, [grant]):
            found[namespace] = max(grant.expires, found.get(namespace, grant.expires))
    return found


def _groups(asked: Asked) -> list[tuple[str, str]]:
    asked.needs("--group", " ".join(asked.facts.groups))
    found: dict[str, str] = {}
    for text in asked.facts.groups:
        group, _, namespace = text.partition("=")
        if not _GROUP.fullmatch(group) or namespace not in asked.tenants() or found.get(group, namespace) != namespace:
            hint = "Write GROUP=NAMESPACE: a Unix group, and one tenant of the fabric"
            raise asked.refused(f"was given the group {text!r}", hint)
        found[group] = namespace
    return sorted(found.items())


def _partitions(asked: Asked) -> list[str]:
    asked.needs("--partition", " ".join(asked.facts.partitions))
    for name in asked.facts.partitions:
        if not _PARTITION.fullmatch(name):
            raise asked.refused(f"was given the partition {name!r}", "Write its PartitionName of slurm.conf")
    return sorted(set(asked.facts.partitions))
