"""The kernel's settings for the interfaces of a fabric, and what they were before: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ringfence.fabric.plan import SYSCTLS, FabricPlan

_SAID = re.compile(r"([a-z_]+)=([0-9]{1,3})")


def settings(plan: FabricPlan) -> dict[str, str]:
    """Each path below /proc/sys to its value; a name may have dots in it, so that sysctl(8) takes slashes too."""
    return {path_of(nic.name, setting): value for nic in plan.nics for setting, value in SYSCTLS.items()}


def sysctl_text(plan: FabricPlan) -> str:
    """The commands that write them."""
    return "".join(f"sysctl -w {path}={value}\n" for path, value in settings(plan).items())


def path_of(interface: str, setting: str) -> str:
    """`net/ipv4/conf/INTERFACE/SETTING` (Documentation/networking/ip-sysctl.rst)."""
    return f"net/ipv4/conf/{interface}/{setting}"


def remembered(values: Mapping[str, str]) -> str:
    """What the settings of one interface were, for the comment that the packet filter keeps of it."""
    return " ".join(f"{setting}={values[setting]}" for setting in SYSCTLS if setting in values)


def recalled(comments: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each path to its value of before, from the comments by interface; anything else in one says nothing."""
    return {
        path_of(interface, setting): value
        for interface, comment in comments
        for setting, value in _SAID.findall(comment)
        if setting in SYSCTLS
    }
