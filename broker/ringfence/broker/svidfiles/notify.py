"""Telling the program that its files are new: a command to run, a process to signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

SIGNALS = ("HUP", "USR1", "USR2", "INT", "QUIT", "TERM", "WINCH")
_COMM = 15  # bytes that the kernel keeps of a process's name (TASK_COMM_LEN)
_LONGEST_PID_LINE = 32
_GRACE = 3.0  # seconds that a command gets to end


@dataclass(frozen=True, slots=True)
class Hook:
    """What is done after each renewal; with no field set, nothing. `patience` in seconds, of the command."""

    command: tuple[str, ...] = ()
    signal: str = ""
    pid_file: Path | None = None
    process: str = ""
    uid: int = -1  # who owns `process`, beside this user
    patience: float = 60.0

    def __post_init__(self) -> None:
        if bool(self.signal) != bool(self.pid_file or self.process) or (self.pid_file and self.process):
            raise RingfenceError(
                Kind.INVALID,
                "a signal needs one receiver",
                hint="Use --signal together with --pid-file, or with --process",
            )

    async def run(self, folder: Path, changed: Sequence[str]) -> None:
        """Run the command, then send the signal; raises UNAVAILABLE, TIMEOUT or DENIED."""
        if self.command:
            await self._run(folder, changed)
        if self.signal:
            await asyncio.to_thread(self._signal)

    async def _run(self, folder: Path, changed: Sequence[str]) -> None:
        told = {"RINGFENCE_SVID_DIR": str(folder), "RINGFENCE_SVID_CHANGED": " ".join(changed)}
        try:
            # Its output goes where our log goes: our own stdout is for data.
            child = await asyncio.create_subprocess_exec(
                *self.command, env={**os.environ, **told}, stdin=asyncio.subprocess.DEVNULL, stdout=2
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self.patience):
                code = await child.wait()
        except TimeoutError:
            raise RingfenceError(
                Kind.TIMEOUT, f"took longer than {self.patience:g} s, and was ended", where=self.command[0]
            ) from None
        finally:
            if child.returncode is None:  # too slow, or we are told to end
                await _end(child)
        if code:
            raise self._failed(f"ended with {code}")

    def _failed(self, detail: str) -> RingfenceError:
        return RingfenceError(Kind.UNAVAILABLE, detail, where=self.command[0], hint="It runs again at the next renewal")

    def _signal(self) -> None:
        number = signal.Signals[f"SIG{self.signal}"]
        if self.pid_file is not None:
            _signal_pid_file(self.pid_file, number)
            return
        users = {os.geteuid(), self.uid}
        if not [pid for pid in _first_of(self.process, users) if _send(pid, number, users, self.process)]:
            raise RingfenceError(Kind.UNAVAILABLE, "no such process of this user or --owner", where=self.process)


async def _end(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def tell_systemd(state: str) -> None:
    """`READY=1` and the like to a service manager that asked for it (sd_notify(3)); nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


def _signal_pid_file(path: Path, number: signal.Signals) -> None:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            line = file.readline(_LONGEST_PID_LINE).strip()
    except OSError as error:
        raise RingfenceError(Kind.UNAVAILABLE, f"cannot be read: {error.strerror}", where=str(path)) from error
    # 1. Who may write the file chooses the process: its owner only.
    if found.st_mode & 0o022:
        raise RingfenceError(Kind.DENIED, "others may write this file", where=str(path), hint="chmod go-w it")
    # 2. One process: 0 and negative numbers are groups, 1 is init.
    pid = int(line) if line.isdigit() else 0
    if pid <= 1:
        raise RingfenceError(Kind.DENIED, "its first line is no process number", where=str(path))
    # 3. A user other than root may name processes of their own only.
    users = None if found.st_uid == 0 else {found.st_uid}
    if not _send(pid, number, users):
        raise RingfenceError(Kind.UNAVAILABLE, f"process {pid} is gone, or another user's", where=str(path))


def _first_of(name: str, users: set[int]) -> list[int]:
    """The processes of that name whose parent has another: the postmaster, not its children."""
    named = {pid for pid in _pids() if _is(pid, users, name)}
    return sorted(pid for pid in named if _parent(pid) not in named)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is(pid: int, users: set[int] | None, name: str) -> bool:
    try:
        if users is not None and Path(f"/proc/{pid}").stat().st_uid not in users:
            return False
        comm = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")
    except OSError:
        return False
    return not name or comm == os.fsencode(name)[:_COMM]


def _parent(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        # The name may hold anything, parentheses too: the fields begin after the last one (proc_pid_stat(5)).
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def _send(pid: int, number: signal.Signals, users: set[int] | None, name: str = "") -> bool:
    """Signal that very process: held first, looked at then, so that a number used anew is never hit."""
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _is(pid, users, name):
            return False
        signal.pidfd_send_signal(held, number)
    except OSError:
        return False
    finally:
        os.close(held)
    return True
