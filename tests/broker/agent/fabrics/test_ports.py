"""A workload has no port closed that is somebody else's."""

from __future__ import annotations

import os
import socket

import pytest

from ringfence.broker.agent.fabrics.ports import check_ports
from ringfence.certs.errors import Kind, RingfenceError


async def test_only_root_closes_privileged_ports() -> None:
    """Or any workload could shut out the administrator."""
    await check_ports([22], 0)
    with pytest.raises(RingfenceError, match="port 22 is not this workload's to close") as caught:
        await check_ports([29500, 22], 1001)
    assert caught.value.kind is Kind.DENIED


async def test_a_port_that_another_user_listens_on_is_theirs() -> None:
    """Whatever its number; one's own, and one on which nobody listens, can be closed."""
    with socket.create_server(("127.0.0.1", 0)) as listens:
        port = listens.getsockname()[1]
        with pytest.raises(RingfenceError, match="is listened on by user"):
            await check_ports([port], 54321)
        await check_ports([port], os.geteuid())
    await check_ports([port], 54321)
