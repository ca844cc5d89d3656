"""A run behind walls: its command sees nothing but its proxy, and nobody else sees its sockets. No root is needed.

`run` and the proxy share a mount namespace with folders that nobody else finds; the command has a user, mount and
network namespace below that. What passes between the two is relayed here.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM
from typing import Self, TypeVar

from ringfence.broker.run import isolate_kernel as kernel
from ringfence.broker.run.children import Child, Children
from ringfence.broker.run.folder import RunFolder
from ringfence.broker.run.isolate_enter import refusal
from ringfence.broker.run.isolate_inside import GO, READY, Walls
from ringfence.broker.run.isolate_paths import USUAL, covers, real, shares, suspects
from ringfence.broker.run.isolate_range import announced, asked
from ringfence.broker.run.isolate_relay import Dial, Relays, relay
from ringfence.broker.run.plan import ProxyPlan
from ringfence.broker.run.ports import LOOPBACK
from ringfence.broker.run.rendezvous_relay import hold

PIPE = "unix:"
_WAYS = "ways"
_AGENT = "agent"
_LONGEST = 4096
_OPEN_FILES = 65536
ArgumentType = TypeVar("ArgumentType")
ResultType = TypeVar("ResultType")


class Isolation:
    """The walls of one run, in *folder*; `enter` of isolate_enter comes before.

    Used as `async with`: what it mounts and relays ends with it. Raises UNAVAILABLE when the kernel refuses a step.
    """

    def __init__(self, folder: RunFolder, asked: Sequence[str] = (), held: str = "") -> None:
        self._folder = folder
        self._asked = tuple(asked)
        self._held = held  # the upstream whose connections wait for the other end, whoever closes them meanwhile
        self._ways = folder.path / _WAYS
        self._relays = Relays()
        # One thread is in the command's network, for good: a socket belongs to where it was made.
        self._inside = ThreadPoolExecutor(1, "inside")
        self._open_files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Every connection through a wall takes two; the command keeps its own limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(self._open_files, min(most, _OPEN_FILES)), most))

    async def __aenter__(self) -> Self:
        self._ways.mkdir(mode=0o700)
        try:
            # Two folders that only this mount namespace has: the command's sockets, and the ends of the relays.
            for path in (self._folder.sockets, self._ways):
                kernel.mount_memory(str(path), 0o700)
        except OSError as error:
            raise refusal(error) from None
        (self._ways / _AGENT).mkdir(mode=0o700)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._relays.close()
        self._inside.shutdown(wait=False)
        for path in (self._folder.sockets, self._ways):
            kernel.unmount(str(path))

    def outside(self, plan: ProxyPlan) -> ProxyPlan:
        """The proxy's plan, of the command's: pipes in place of loopback ports."""
        return replace(
            plan,
            upstream={key: self._pipe(f"to-{number}") for number, key in enumerate(plan.upstream)},
            egress=self._pipe("egress") if plan.egress else "",
            application={name: self._pipe(f"at-{port}") for name, port in plan.served.items() if port},
        )

    def inside(self, plan: ProxyPlan) -> ProxyPlan:
        """What the command is told: the same, and a Workload API that is relayed."""
        return replace(plan, launch=replace(plan.launch, workload_socket=str(self._ways / _AGENT / "api.sock")))

    async def start(
        self, children: Children, plan: ProxyPlan, command: Sequence[str], environment: Mapping[str, str]
    ) -> Child:
        """The running command; *plan* is the one before `outside`. Raises what exec raises (OSError)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                walls = self._walls(theirs.fileno(), plan.launch.workload_socket)
                child = children.start(
                    [sys.executable, "-I", "-m", "ringfence.broker.run.isolate_inside", walls.text(), *command],
                    environment=environment,
                    death_signal=SIGTERM,
                    pass_fds=(theirs.fileno(),),
                )
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            if (said := await loop.sock_recv(ours, _LONGEST)) != READY:
                raise refusal(_error(said))
            await self._relay(child.pid, plan)
            await loop.sock_sendall(ours, GO)
            # The exec closes the other end: what is said before that is why there was none.
            if said := await loop.sock_recv(ours, _LONGEST):
                error = _error(said)
                error.add_note("--isolate hides its folder, and --share FOLDER shows it")  # it was there before
                raise error
        return child

    def _pipe(self, name: str) -> str:
        return f"{PIPE}{self._ways / name}"

    def _walls(self, channel: int, agent: str) -> Walls:
        folder = str(Path.cwd())
        places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()]
        # The folders of other runs and of the agent too: its socket for launches would make the command anybody.
        folders = real([*USUAL, *places, str(self._folder.path.parent), str(Path(agent).parent)])
        covered, shared = covers(folders), shares(folder, self._asked, folders)
        table = Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape")
        return Walls(
            channel,
            os.getpid(),
            covered,
            (*shared, str(self._folder.sockets.resolve()), str((self._ways / _AGENT).resolve())),
            tuple(place for place in places if place),
            suspects(table, covered, shared),
            folder,
            self._open_files,
        )

    async def _relay(self, pid: int, plan: ProxyPlan) -> None:
        """Open every way through the walls, and no other."""
        proxys = self.outside(plan)
        try:
            await self._in_there(kernel.join_network, pid)
            # 1. From the command to its proxy.
            for key, address in plan.upstream.items():
                await self._relay_upstream(key, address, plan.last.get(key, 0), _to(proxys.upstream[key]))
            if plan.egress:
                self._relays.start(await self._in_there(_bound, plan.egress), _to(proxys.egress))
            # 2. From its proxy to what it serves.
            for name, pipe in proxys.application.items():
                first, last = plan.served[name], plan.last.get(name, 0)
                carry = asked(range(first, last + 1), self._to_served) if last else relay
                self._relays.start(_bound(pipe), self._to_served(first), carry)
            # 3. From the command to the Workload API, as `run`: what else is in the agent's folder is out of reach.
            api = PIPE + self.inside(plan).launch.workload_socket
            self._relays.start(_bound(api), _to(PIPE + plan.launch.workload_socket))
        except OSError as error:
            raise refusal(error) from None

    async def _relay_upstream(self, key: str, address: str, last: int, dial: Dial) -> None:
        """From the command's address, or from each of a range, to one pipe of the proxy."""
        if not last:
            self._relays.start(await self._in_there(_bound, address), dial, hold if key == self._held else relay)
            return
        host, _, first = address.rpartition(":")
        for number in range(int(first), last + 1):
            listening = await self._in_there(_bound, f"{host}:{number}")
            self._relays.start(listening, announced(dial, host, number))

    async def _in_there(self, work: Callable[[ArgumentType], ResultType], argument: ArgumentType) -> ResultType:
        return await asyncio.get_running_loop().run_in_executor(self._inside, work, argument)

    def _to_served(self, port: int) -> Dial:
        async def dial() -> socket.socket:
            return await _connected(await self._in_there(_fresh, socket.AF_INET), (LOOPBACK, port))

        return dial


def _to(pipe: str) -> Dial:
    async def dial() -> socket.socket:
        return await _connected(_fresh(socket.AF_UNIX), pipe.removeprefix(PIPE))

    return dial


async def _connected(fresh: socket.socket, address: tuple[str, int] | str) -> socket.socket:
    try:
        await asyncio.get_running_loop().sock_connect(fresh, address)
    except BaseException:
        fresh.close()
        raise
    return fresh


def _bound(address: str) -> socket.socket:
    """A socket on `unix:PATH` or HOST:PORT, in the network of the calling thread."""
    if address.startswith(PIPE):
        listening = _fresh(socket.AF_UNIX)
        listening.bind(address.removeprefix(PIPE))
        return listening
    host, _, port = address.rpartition(":")
    listening = _fresh(socket.AF_INET)
    listening.bind((host, int(port)))
    return listening


def _fresh(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    if family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a relay adds no wait of its own
    return made


def _error(said: bytes) -> OSError:
    told = json.loads(said or b'{"errno": 0, "what": "it ended"}')
    return OSError(told["errno"], os.strerror(told["errno"]), told["what"])
