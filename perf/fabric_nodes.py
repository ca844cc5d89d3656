"""Nodes of a fabric in one process: each a network namespace with a thread in it, kept by the agent's own keeper.

`python -m perf.fabric_nodes` reads a line of JSON (the server and the nodes), then commands: `live 3 7` has these nodes
take in what they are told at once and all others wait, `all` has all go on, `bare 3` runs nft there. It says of each
node when it holds how many members, in lines of JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.acting_agent import agent_stream
from perf.stand import Stand
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fabrics.joins import Join
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.work import Done, Step, Work
from ringfence.broker.agent.storage import DataFolder
from ringfence.broker.fabric.apply_tools import run
from ringfence.broker.log import configure

FABRIC, JOB = "platform/rail", "perf/llm"
_NEWNET, _NEWNS, _DETACH, _PRIVATE = 0x40000000, 0x00020000, 2, 1 << 18 | 1 << 14  # sched.h, mount.h
_SCRATCH = """
add table inet perf
add set inet perf s { type ipv4_addr; flags timeout; }
add element inet perf s { 192.0.2.1 timeout 60s }
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One node: its namespace, its token, the entry of its workload, and a folder of its own."""

    number: int
    namespace: str
    token: str
    entry_id: str
    spiffe_id: str
    folder: str


class NodeWork(Work):
    """The agent's, in a thread that is in the node's namespace; *told* hears how many members it holds."""

    def __init__(self, place: Place, told: Callable[[int], None]) -> None:
        folder = DataFolder(Path(place.folder))
        folder.open()
        super().__init__(folder, time.time)
        self._told = told
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(place.namespace,))

    def do(self, step: Step) -> Done:
        """As Work."""
        return self._thread.submit(self._do, step).result()

    def _do(self, step: Step) -> Done:
        done = super().do(step)
        if done.error is not None:
            raise done.error
        self._told(sum(len(one.members) for held in done.held.values() for one in held.members))
        return done

    async def bare(self) -> float:
        """When nft had made one small transaction there, and nothing else."""
        return await asyncio.wrap_future(self._thread.submit(_bare))


class _Wire:
    """The stream, with a task that writes what it is told."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._waiting: asyncio.Queue[pb.AgentMessage] = asyncio.Queue()

    def tell(self, message: pb.AgentMessage) -> bool:
        """As Link."""
        self._waiting.put_nowait(message)
        return True

    async def write(self) -> None:
        """Until cancelled."""
        while True:
            await self._call.write(await self._waiting.get())


class _Quiet:
    """A node that does not change by itself."""

    def __init__(self, changed: Callable[[], None]) -> None:
        del changed

    def close(self) -> None:
        """As NodeChanges."""


class _Watch:
    """A workload that nobody asks anything of."""

    def mark(self) -> None:
        """As Watch."""

    def wake(self) -> None:
        """As Watch."""


class Node:
    """One node; while it is not `live` what it is told waits."""

    def __init__(self, place: Place, call: Any) -> None:
        self.number = place.number
        self.live = asyncio.Event()
        self.work = NodeWork(place, _teller(place.number))
        self._call = call
        self._wire = _Wire(call)
        self._keeper = FabricKeeper(self.work, self._wire, time.time, listen=_Quiet)
        entry = Entry.read(pb.Entry(id=place.entry_id, spiffe_id=place.spiffe_id, selectors=["unix:uid:1"]))
        join = Join(FABRIC, JOB, frozenset(), _Watch())  # type: ignore[arg-type]  # as far as it is used here
        self._keeper.enter(join)
        self._keeper.claim(join, entry)
        self.live.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wire.write())
            tasks.create_task(self._keeper.run())
            while True:
                message = await self._call.read()
                if message.HasField("fabrics"):
                    await self.live.wait()
                    self._keeper.on_update(message.fabrics)


def _enter(namespace: str) -> None:
    """Have this thread, and what it starts, see a network namespace and its devices, as `ip netns exec` does."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open("rb") as file:
        _checked(libc.setns(file.fileno(), _NEWNET))
    _checked(libc.unshare(_NEWNS))
    _checked(libc.mount(b"", b"/", b"none", _PRIVATE, None))
    libc.umount2(b"/sys", _DETACH)
    _checked(libc.mount(b"perf", b"/sys", b"sysfs", 0, None))


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _bare() -> float:
    run(("nft", "-f", "-"), _SCRATCH)
    return time.monotonic()


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    asked = json.loads(sys.stdin.readline())
    server = Stand(Path(asked["folder"]), asked["listen"], 0)
    places = [Place(**one) for one in asked["nodes"]]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(places) + 1))
    async with AsyncExitStack() as exits, asyncio.TaskGroup() as tasks:
        nodes = {}
        for place in places:
            call = await exits.enter_async_context(agent_stream(server, place.token, fabrics=True))
            nodes[place.number] = Node(place, call)
            tasks.create_task(nodes[place.number].run())
        while line := await asyncio.to_thread(sys.stdin.readline):
            await _obey(nodes, *line.split())


async def _obey(nodes: dict[int, Node], command: str, *numbers: str) -> None:
    chosen = [nodes[int(number)] for number in numbers if int(number) in nodes]
    if command == "bare":
        begun = time.monotonic()
        ended = await asyncio.gather(*(node.work.bare() for node in chosen))
        _say(bare=[end - begun for end in ended])
        return
    for node in nodes.values():
        if command == "all" or node in chosen:
            node.live.set()
        else:
            node.live.clear()
    _say(obeyed=True)


def _teller(number: int) -> Callable[[int], None]:
    return lambda count: _say(node=number, members=count, at=time.monotonic())


if __name__ == "__main__":
    configure()
    asyncio.run(_main())
