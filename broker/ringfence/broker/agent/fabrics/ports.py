"""Which ports a workload may have closed on its node: not those of somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ringfence.broker.fabric.closed import listeners
from ringfence.certs.errors import Kind, RingfenceError

MOST = 16
_LAST, _PRIVILEGED = 65535, 1024


async def check_ports(ports: Sequence[int], uid: int) -> None:
    """Raise INVALID for what is no port or too many of them, DENIED for a port that is not *uid*'s to close."""
    if len(ports) > MOST or not all(0 < port <= _LAST for port in ports):
        raise RingfenceError(Kind.INVALID, f"at most {MOST} ports can be closed, each from 1 to {_LAST}")
    if not ports or uid == 0:
        return
    if low := [port for port in ports if port < _PRIVILEGED]:
        raise _not_theirs(low[0], "is one that only root may listen on")
    for port, users in (await asyncio.to_thread(listeners, ports)).items():
        if others := users - {uid}:
            raise _not_theirs(port, f"is listened on by user {min(others)}")


def _not_theirs(port: int, why: str) -> RingfenceError:
    return RingfenceError(Kind.DENIED, f"port {port} is not this workload's to close: it {why}", hint="Use another one")
