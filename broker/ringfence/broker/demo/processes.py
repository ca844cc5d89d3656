"""Child processes of the demo: started in order, logged to files, ended all together whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError

RINGFENCE = (sys.executable, "-m", "ringfence.broker.cli")
END_WITHIN = 10.0  # seconds from SIGTERM to SIGKILL
ANSWER_WITHIN = 60.0
LINE_LIMIT = 1 << 20
FOLDER = "/"  # the user's own may be one that a workload behind walls does not see


@dataclass
class Children:
    """Every process that the demo started, by name."""

    logs: Path
    env: dict[str, str]
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str, *command: str, env: dict[str, str] | None = None, talk: bool = False) -> None:
        """Start *command*; its stderr (and, unless it is to *talk* to us, its stdout) goes to NAME.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE if talk else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if talk else log,
                stderr=log,
                env=os.environ | self.env | (env or {}),
                limit=LINE_LIMIT,
                cwd=FOLDER,
                start_new_session=True,  # a Ctrl-C is ours to handle, in order
            )

    def log_tail(self, name: str, lines: int = 8) -> str:
        """The last lines that the process wrote."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def require_alive(self, name: str) -> None:
        """Raise when the process has ended, with what it said last."""
        process = self.running[name]
        if process.returncode is not None:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"{name} ended with exit code {process.returncode}; it said last:\n{self.log_tail(name)}\n",
                where=str(self.logs / f"{name}.log"),
            )

    def rss_mib(self, name: str) -> float:
        """Resident memory of the process in MiB (VmRSS of proc(5))."""
        status = Path(f"/proc/{self.running[name].pid}/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return round(int(kib) / 1024, 1)

    async def wait(self, name: str, within: float) -> int:
        """The exit code, once the process ended by itself; raises TIMEOUT."""
        try:
            async with asyncio.timeout(within):
                return await self.running[name].wait()
        except TimeoutError:
            raise RingfenceError(
                Kind.TIMEOUT, f"{name} did not end in {within:.0f} s", hint=self.log_tail(name)
            ) from None

    async def kill(self, name: str) -> None:
        """End it as a crash would, with SIGKILL."""
        self.running[name].kill()
        await self.running.pop(name).wait()

    async def end(self, name: str) -> None:
        """SIGTERM, and SIGKILL when that is not heeded."""
        process = self.running.pop(name)
        if process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def end_all(self) -> None:
        """End everything: workloads first, then the agents, the server last."""
        last = [name for name in self.running if name.startswith("agent")]
        last += [name for name in self.running if name == "server"]
        await asyncio.gather(*(self.end(name) for name in list(self.running) if name not in last))
        for name in last:
            await self.end(name)


class Probe:
    """The other end of a probe workload: one command out, one result back."""

    def __init__(self, children: Children, name: str) -> None:
        self._children = children
        self._name = name
        self._turn = asyncio.Lock()

    async def ready(self) -> str:
        """Wait for the first line; gives the identity that the probe got."""
        return str((await self._line())["ready"])

    async def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """Have the probe do one thing."""
        async with self._turn:
            stdin = self._children.running[self._name].stdin
            if stdin is None:
                raise RingfenceError(Kind.UNAVAILABLE, f"{self._name} was not started to be talked to")
            stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
            await stdin.drain()
            return await self._line()

    async def _line(self) -> dict[str, Any]:
        stdout = self._children.running[self._name].stdout
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                line = await stdout.readline() if stdout else b""
        except TimeoutError:
            line = b""
        if not line:
            await asyncio.sleep(0)
            self._children.require_alive(self._name)
            raise RingfenceError(
                Kind.TIMEOUT, f"{self._name} does not answer; it said last:\n{self._children.log_tail(self._name)}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
