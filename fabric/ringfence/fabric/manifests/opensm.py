"""The partitions of opensm's `partitions.conf`: who is a full member of the default one.

Form: opensm's doc/partition-config.txt. `[NAME][=PKEY][,FLAG]... : [MEMBER[=full|limited|both]][,...] ;`
"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.fabric.manifests.codes import noted
from ringfence.policy.fabrics import DEFAULT_PKEY
from ringfence.policy.findings import Finding
from ringfence.policy.model import Origin

_EVERYBODY = frozenset({"ALL", "ALL_CAS"})
_FULL = frozenset({"full", "both"})


def open_default(path: str, text: str) -> Iterator[Finding]:
    """RF6104: for each rule of the default partition that makes everybody a full member."""
    line = 1
    *rules, _ = "\n".join(told.partition("#")[0] for told in text.split("\n")).split(";")
    for rule in rules:
        begins = line + rule[: len(rule) - len(rule.lstrip())].count("\n")
        line += rule.count("\n")
        head, _, members = rule.partition(":")
        name, _, flags = head.strip().partition(",")
        if _is_default(name) and (who := _full(members, flags)):
            yield noted("RF6104", Origin(path, begins), f"{name.strip()} has {who} as full members")


def _is_default(name: str) -> bool:
    label, equals, key = name.partition("=")
    if not equals:
        return label.strip() == "Default"
    try:
        return int(key.strip(), 0) & DEFAULT_PKEY == DEFAULT_PKEY
    except ValueError:
        return False


def _full(members: str, flags: str) -> str:
    """The first word that means everybody as a full member; a member without a word of its own is as the flag says."""
    default = next((flag.partition("=")[2].strip() for flag in flags.split(",") if "defmember" in flag), "limited")
    for member in members.split(","):
        who, _, how = (part.strip() for part in member.partition("="))
        if who in _EVERYBODY and (how or default) in _FULL:
            return who
    return ""
