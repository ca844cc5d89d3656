"""All-reduces of two ranks on a fabric: bare, with Ringfence on it, and through a proxy; what two figures share."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import parts
from tests.e2e.fabric_capture import captured
from tests.e2e.fabric_nodes import Nodes
from tests.e2e.test_fabric_apply import INTENT

from ringfence.fabric.plan_nft import table_of

KIB, MIB = 1 << 10, 1 << 20
# Bytes to how often a block reduces them: short, so that what else the machine does falls on both of a pair.
SIZES = {64 * KIB: 12, MIB: 6, 8 * MIB: 2, 64 * MIB: 1}
ROUNDS = 30  # pairs of blocks, bare and on
PROXIED = 8  # blocks
_PROGRAM = str(Path(__file__).with_name("allreduce_rank.py"))
_PORTS = "50001 50900"  # of the fabric, and beside those that the nodes listen on

Block = dict[int, list[float]]  # seconds of each reduction, by bytes


@dataclass(frozen=True, slots=True)
class Blocks:
    """What was measured; the n-th of `bare` and of `on` were taken one after the other."""

    bare: list[Block] = field(default_factory=list)
    on: list[Block] = field(default_factory=list)
    proxied: list[Block] = field(default_factory=list)


class _Pair:
    """A rank on each node, connected once and for all."""

    def __init__(self, nodes: Nodes, exits: ExitStack, port: int) -> None:
        store = {"MASTER_ADDR": Nodes.RANK_CONTROL, "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "fab0"}
        self._ranks = [
            _started(name, {**store, "RANK": str(rank)}, exits) for rank, name in enumerate((nodes.rank, nodes.peer))
        ]
        for rank in self._ranks:
            if _line(rank) != "up":
                raise RuntimeError("a rank did not start")

    def block(self) -> Block:
        """A block of every size."""
        return {size: self._reduced(size, times) for size, times in SIZES.items()}

    def _reduced(self, size: int, times: int) -> list[float]:
        for rank in self._ranks:
            assert rank.stdin is not None  # a pipe
            rank.stdin.write(f"{size} {times}\n")
            rank.stdin.flush()
        first, _ = [json.loads(_line(rank)) for rank in self._ranks]
        took: list[float] = first
        return took


def _started(namespace: str, more: dict[str, str], exits: ExitStack) -> subprocess.Popen[str]:
    command = [parts.program("ip", "iproute2"), "netns", "exec", namespace, parts.torch(), _PROGRAM]
    process = subprocess.Popen(
        command, env={**os.environ, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    exits.callback(process.wait)
    exits.callback(process.kill)
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # a pipe
    return process.stdout.readline().strip()


@contextmanager
def _nodes(folder: Path, exits: ExitStack) -> Iterator[Nodes]:
    intent = folder / "intent"
    intent.mkdir()
    (intent / "fabric.yaml").write_text(INTENT)
    nodes = Nodes(intent, exits)
    for name in (nodes.rank, nodes.peer):
        nodes.ip("netns", "exec", name, "sysctl", "-qw", f"net.ipv4.ip_local_port_range={_PORTS}")
    yield nodes


class _Filters:
    """The filter of each node as `ringfence fabric apply` left it, taken out and put back in milliseconds.

    Routes and settings stay: no packet of a connection that is open asks for them.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._names = (nodes.rank, nodes.peer)
        for name in self._names:
            members = f"llama={Nodes.RANK},{Nodes.PEER}"
            _run(name, *nodes.command("apply", "fab", *nodes.intent, "--member", members))
        self._table = ("table", *table_of("team-a/fab").split())
        self._texts = [_run(name, "nft", "list", *self._table) for name in self._names]
        self._on = True

    def switch(self, *, on: bool) -> None:
        """In or out, on both nodes."""
        for name, text in zip(self._names, self._texts, strict=True) if on is not self._on else ():
            change = ("-f", "-") if on else ("delete", *self._table)
            _run(name, "nft", *change, text=text)
        self._on = on


def _run(namespace: str, *command: str, text: str = "") -> str:
    inside = [parts.program("ip", "iproute2"), "netns", "exec", namespace, *command]
    return subprocess.run(inside, input=text, capture_output=True, text=True, check=True).stdout


@cache
def measured() -> Blocks:
    """All blocks, once for both figures; raises RuntimeError without root."""
    if os.geteuid() != 0:
        raise RuntimeError("network namespaces take root")
    blocks = Blocks()
    # A short folder: it holds an admin socket.
    with TemporaryDirectory(prefix="rf-") as name, ExitStack() as exits, _nodes(Path(name), exits) as nodes:
        pair = _Pair(nodes, exits, 29600)
        filters = _Filters(nodes)
        for number in range(ROUNDS):
            # By turns which comes first, so that a drift of the machine favours neither.
            for on in (False, True) if number % 2 == 0 else (True, False):
                filters.switch(on=on)
                (blocks.on if on else blocks.bare).append(pair.block())
        filters.switch(on=False)
        # Last: a capture has the kernel track every connection, which bare ones are not to pay for.
        with captured(nodes.rank, Path(name)):
            proxied = _Pair(nodes, exits, 29601)
            blocks.proxied.extend(proxied.block() for _ in range(PROXIED))
    return blocks


def named(size: int) -> str:
    """A size as people write it."""
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
