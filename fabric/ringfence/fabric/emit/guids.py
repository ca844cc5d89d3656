"""GUIDs of InfiniBand's ports, as operators write them."""

from __future__ import annotations

import re

from ringfence.fabric.emit.asked import Asked

_GUID = re.compile(r"(?:0x)?([0-9a-f]{16})")
_NOBODY = frozenset({"0" * 16, "f" * 16})  # of no port


def port_guids(asked: Asked) -> tuple[str, ...]:
    """Those of the facts as 16 hexadecimal digits, sorted, each once; raises INVALID for none, or for one that is none.

    With colons, as `ip link` shows the end of a hardware address, they are taken too.
    """
    asked.needs("--guid or --guids", "".join(asked.facts.guids))
    return tuple(sorted({_guid(asked, text) for text in asked.facts.guids}))


def _guid(asked: Asked, text: str) -> str:
    found = _GUID.fullmatch(text.strip().lower().replace(":", ""))
    if found is None or found[1] in _NOBODY:
        hint = "Write 16 hexadecimal digits, as `ibstat -p` prints them"
        raise asked.refused(f"was given {text!r}, which is no port's GUID", hint)
    return found[1]


def partition_key(asked: Asked) -> int:
    """The value of the key, 15 bits; raises INVALID for none, and for the default one, where everybody is."""
    partition = asked.fabric.partition
    if partition is None:
        raise asked.refused("has no partition", "Write the key that its members have")
    if not 0 < partition.number < 0x7FFF:  # noqa: PLR2004  # the default partition
        raise asked.refused(f"has {partition}, which tells nobody apart", "Write a key from 0x0001 to 0x7ffe")
    return partition.number
