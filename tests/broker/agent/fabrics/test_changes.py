"""What the kernel tells of a node's changes is heard, whatever it is."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.agent.fabrics.changes import note_tables
from tests import parts

# In a namespace of its own: says each change that it hears of, and makes one at each line that it reads.
LISTENS = """
import asyncio, subprocess, sys
from ringfence.broker.agent.fabrics.changes import NodeChanges
async def main():
    heard = asyncio.Event()
    changes = NodeChanges(heard.set)
    for command in sys.argv[1:]:
        await asyncio.sleep(0)
        heard.clear()
        done = await asyncio.create_subprocess_shell(command)
        assert await done.wait() == 0, command
        try:
            async with asyncio.timeout(float(0.5 if " add table" in command or "other" in command else 20)):
                await heard.wait()
            print("heard", flush=True)
        except TimeoutError:
            print("nothing", flush=True)
    changes.close()
asyncio.run(main())
"""


@given(st.binary(max_size=200))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    """No message without a length keeps the loop, and none that is cut short is read beyond its end."""
    note_tables(data, set())
    note_tables(b"\x10\0\0\0\x02\x0a" + data, set())


@pytest.mark.slow
async def test_interfaces_addresses_rules_and_lost_tables_are_heard_of() -> None:
    """And nothing of a filter to which something is added, that is replaced, or is not ours."""
    await asyncio.to_thread(parts.root)
    parts.program("nft", "nftables")
    changes = (
        "ip link add v1 type veth peer name v2",
        "ip address add 10.9.0.1/24 dev v1",
        "ip rule add from 10.9.0.1 lookup 77",
        "nft add table inet ringfence-x",
        "nft add table inet ringfence-x '{ set s { type ipv4_addr; }; }'",
        "nft add table inet ringfence-x '; delete table inet ringfence-x; add table inet ringfence-x'",
        "nft add table inet other",
        "nft delete table inet other",
        "nft flush ruleset",
    )
    unshare = parts.program("unshare", "util-linux")
    command = [unshare, "-n", sys.executable, "-c", LISTENS, *changes]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["heard"] * 3 + ["nothing"] * 5 + ["heard"], done.stderr
