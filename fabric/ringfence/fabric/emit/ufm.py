"""What NVIDIA's UFM is sent for a partition: its REST API of PKey GUIDs, 6.22."""

from __future__ import annotations

import json
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.guids import partition_key, port_guids
from ringfence.policy.fabrics import FabricKind


def payloads(asked: Asked) -> str:
    """Two requests in their order: the key is made, then its members are set, so that what is not listed is out."""
    asked.only(FabricKind.INFINIBAND, why="UFM manages partition keys")
    guids = port_guids(asked)
    head: dict[str, Any] = {
        "pkey": f"{partition_key(asked):#06x}",
        "index0": False,
        "ip_over_ib": bool(asked.fabric.cidrs),
    }
    made = _request("POST", "/ufmRest/resources/pkeys/add", head | {"partition_name": asked.name})
    # Not POST, which adds: a port that left the list would stay a member.
    members = _request("PUT", "/ufmRest/resources/pkeys/", head | {"membership": "full", "guids": list(guids)})
    return f"{json.dumps({'requests': [made, members]}, indent=2)}\n"


def _request(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"method": method, "path": path, "body": body}
