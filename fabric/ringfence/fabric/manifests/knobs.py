"""The annotations and labels of Istio and Linkerd by which traffic leaves the proxies, and how much of it each takes.

Sources: Istio's resource annotations and Linkerd's proxy configuration. An interface or a network can be a fabric's
alone; a port is one on every address, and a pod without a proxy has nothing left to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Takes(Enum):
    """What a knob takes out."""

    ALL = "all traffic"
    PORTS = "ports, on every address"
    NETWORKS = "networks"
    INTERFACES = "interfaces"


@dataclass(frozen=True, slots=True)
class Knob:
    """One annotation or label: it takes something out for the values of `when`, or for all but those of `unless`."""

    takes: Takes
    when: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()

    def turned(self, value: str) -> bool:
        """Whether *value* takes something out."""
        return value in self.when if self.when else value not in self.unless


def _only(*values: str) -> Knob:
    return Knob(Takes.ALL, when=frozenset(values))


_NOTHING = frozenset({""})
_EVERYTHING_IN = frozenset({"*"})
_ISTIO = "traffic.sidecar.istio.io"
KNOBS: Mapping[str, Knob] = MappingProxyType(
    {
        "sidecar.istio.io/inject": _only("false"),
        "sidecar.istio.io/interceptionMode": _only("NONE"),
        "istio.io/dataplane-mode": _only("none"),
        "ambient.istio.io/bypass-inbound-capture": _only("true"),
        "linkerd.io/inject": _only("disabled"),
        f"{_ISTIO}/excludeInboundPorts": Knob(Takes.PORTS, unless=_NOTHING),
        f"{_ISTIO}/excludeOutboundPorts": Knob(Takes.PORTS, unless=_NOTHING),
        f"{_ISTIO}/includeInboundPorts": Knob(Takes.PORTS, unless=_EVERYTHING_IN),
        f"{_ISTIO}/includeOutboundIPRanges": Knob(Takes.PORTS, unless=_EVERYTHING_IN),
        f"{_ISTIO}/excludeOutboundIPRanges": Knob(Takes.NETWORKS, unless=_NOTHING),
        f"{_ISTIO}/excludeInterfaces": Knob(Takes.INTERFACES, unless=_NOTHING),
        "config.linkerd.io/skip-inbound-ports": Knob(Takes.PORTS, unless=_NOTHING),
        "config.linkerd.io/skip-outbound-ports": Knob(Takes.PORTS, unless=_NOTHING),
        "config.linkerd.io/skip-subnets": Knob(Takes.NETWORKS, unless=_NOTHING),
    }
)
EXCLUDE_INTERFACES = f"{_ISTIO}/excludeInterfaces"
