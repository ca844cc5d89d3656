"""A partition for opensm's partitions.conf (doc/partition-config.txt of opensm)."""

from __future__ import annotations

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.guids import partition_key, port_guids
from ringfence.policy.fabrics import FabricKind

_DEFAULT = "Default=0x7fff : ALL=limited, SELF=full ;"


def partitions_conf(asked: Asked) -> str:
    """The fabric's partition, its ports as full members, and the rule for the default one, where limited are apart.

    opensm puts everybody into 0x7fff as full members where it has no file at all.
    """
    asked.only(FabricKind.INFINIBAND, why="no other wire has a subnet manager with partition keys")
    key, guids = partition_key(asked), port_guids(asked)
    flags = ", ipoib" if asked.fabric.cidrs else ""
    members = ",\n".join(f"    0x{guid}=full" for guid in guids)
    return f"# {asked.comment()}\n{_DEFAULT}\n{asked.name}={key:#06x}{flags} :\n{members} ;\n"
