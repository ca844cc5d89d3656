"""What a packet costs to leave for a member and to be answered, with 1,000 members in the job's set, beside 10."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import parts
from tests.e2e.fabric_nodes import Nodes
from tests.fabric.nodes import fabric

from perf.figure import within_limit
from ringfence.fabric.node import Node, NodeInterface
from ringfence.fabric.plan import plan_node
from ringfence.fabric.plan_links import Links
from ringfence.fabric.plan_nft import ruleset
from ringfence.policy.fabrics import Enforcer, FabricKind

NAME = "nft_members"
GOAL = 1.05
PAIRS = 60
PACKETS = 6000  # of a block
MANY, FEW = 1000, 10
_LEASE = 3600  # seconds: the sets are those of an agent, whose members end by themselves
_PEERS = [f"10.91.0.{host}" for host in range(2, 2 + FEW - 1)]
_PROGRAM = str(Path(__file__).with_name("nft_members_sender.py"))


def _ruleset(members: int) -> str:
    """The table of a node whose job has that many members: itself, its peers, and others elsewhere."""
    node = Node((NodeInterface("ctl0"), NodeInterface("fab0"), NodeInterface("lo")))
    links = Links((("fab0", ip_interface(f"{Nodes.RANK}/24")),), ())
    enforced = {"cidrs": ("10.91.0.0/16",), "enforced_by": Enforcer.HOST_FIREWALL}
    first, until = int(ip_address(Nodes.RANK)), int(time.time()) + _LEASE
    job = {str(ip_address(first + at)): until for at in range(members)}
    plan = plan_node(fabric(FabricKind.TCP, "fab0", **enforced), node, links, {"team-a/llama": job})
    return ruleset(plan, now=time.time())


def _block(nodes: Nodes, sender: subprocess.Popen[str], members: int) -> float:
    """Microseconds a packet and its answer."""
    done = nodes.inside("nft", "-f", "-", text=_ruleset(members))
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    assert sender.stdin is not None  # a pipe
    assert sender.stdout is not None
    sender.stdin.write(f"{PACKETS}\n")
    sender.stdin.flush()
    took = float(sender.stdout.readline()) / 1000
    for chain in ("fabric_out", "fabric_in"):
        passed = _passed(nodes, chain)
        assert passed >= PACKETS // len(_PEERS) * len(_PEERS), f"{chain} let {passed} packets pass"
    return took


def _passed(nodes: Nodes, chain: str) -> int:
    """Packets that were told to be of the job: what is refused at once would be cheap."""
    listed = nodes.inside("nft", "list", "chain", "inet", "ringfence-fabric/team-a/fab", chain).stdout
    found = re.search(r"daddr @job4/team-a/llama counter packets (\d+)", listed)
    return int(found[1]) if found else 0


def _sender(nodes: Nodes, exits: ExitStack) -> subprocess.Popen[str]:
    command = [parts.program("ip", "iproute2"), "netns", "exec", nodes.rank, sys.executable, _PROGRAM]
    process = subprocess.Popen(
        [*command, nodes.RANK, *_PEERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    exits.callback(process.wait)
    exits.callback(process.kill)
    return process


def measure(pairs: int = PAIRS) -> dict[str, Any]:
    """The figure `nft_members`."""
    with TemporaryDirectory() as folder, ExitStack() as exits:
        nodes = Nodes(Path(folder), exits)
        for peer in _PEERS[2:]:
            nodes.ip("-n", nodes.peer, "address", "add", f"{peer}/24", "dev", "fab0")
        sender = _sender(nodes, exits)
        taken = []
        for at in range(pairs + 1):
            order = (MANY, FEW) if at % 2 else (FEW, MANY)  # whoever is first has the colder caches
            took = {members: _block(nodes, sender, members) for members in order}
            taken.append((took[MANY], took[FEW]))
    what = (
        f"one TCP segment to each of {len(_PEERS)} members in turn, and the peer's answer, through the filter of a "
        f"fabric whose job has {MANY:,} members; median of {pairs} blocks of {PACKETS:,}, in turn with the limit's"
    )
    return within_limit(NAME, what, taken[1:], unit="us", limit=f"the same with {FEW} members", goal=GOAL)
