"""What reaches a workload, or leaves it, past the proxies: intent keeps out nobody there, only walls of the node do."""

from __future__ import annotations

from enum import Enum

from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.model import Port, Workload
from ringfence.policy.way import Leg, Reached, Way


class Walls(Enum):
    """How `ringfence run` starts a workload; no document says it."""

    CAPTURE = "capture"
    ISOLATE = "isolate"


_WALLS = {
    Walls.CAPTURE: "the network namespace of `ringfence run --capture` and its nft table inet ringfence",
    Walls.ISOLATE: "the network namespace of `ringfence run --isolate`, in which there is loopback alone",
}
_PRIVATE = "the private folder of its Unix socket, 0700"
_NONE = "nothing that is known of"
_OPEN = "whoever has a route to it calls what listens there, and nobody asks who it is"


def by_nic(
    called: Workload | External,
    port: Port | ExternalPort | None,
    target: str,
    caller_walls: Walls | None,
    called_walls: Walls | None,
) -> Leg:
    """The leg by the node's own network; without walls at either end all that is known is that nothing is."""
    # 1. What leaves a walled caller ends at its proxy or nowhere.
    if caller_walls is not None:
        return Leg(Way.NIC, target, Reached.DENY, _WALLS[caller_walls], "the caller has no way but its proxy")
    # 2. What a walled workload serves is reached by its proxy alone.
    if called_walls is not None and isinstance(called, Workload):
        return Leg(Way.NIC, target, Reached.DENY, _WALLS[called_walls], "only its own proxy reaches what it serves")
    # 3. No network leads to a file.
    if isinstance(port, Port) and port.socket:
        return Leg(Way.NIC, target, Reached.DENY, _PRIVATE, "it is a file, and no network leads there")
    return Leg(Way.NIC, target, Reached.UNKNOWN, _NONE, _OPEN)
