"""The job of a leak test: a command that is run for it, or processes that run already."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ringfence.broker.fabric.leak_watch import Watch
from ringfence.broker.run.kernel import become_subreaper, descendants_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.leak.seen import Seen

LOOK = 0.02  # seconds from one look at sockets to the next: whose a socket was is told by nobody once it is closed
SHARE = 0.1  # of a CPU that looking may take: where a node has very many sockets it is done less often


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen, a line for each thing that could not be, and the exit code of the command, if there was one."""

    seen: Seen
    notes: tuple[str, ...]
    seconds: float
    code: int | None = None


def run_command(fabric: str, command: Sequence[str], admins: tuple[str, ...]) -> Watched:
    """Run *command* to its end and watch it; the code is 128 + n for signal n. What it prints goes to stderr.

    All that it leaves behind is of the job too. TERM is passed on to it; Ctrl-C reaches it by the terminal. Raises
    NOT_FOUND where there is no such command.
    """
    if shutil.which(command[0]) is None:
        raise RingfenceError(Kind.NOT_FOUND, f"there is no command {command[0]}", hint="Name one that is on PATH")
    become_subreaper()
    began = time.monotonic()
    with Watch(fabric, lambda: descendants_of(os.getpid()), admins) as watch:
        process = subprocess.Popen(command, stdout=sys.stderr)  # noqa: S603  # the user's own command
        with process, _passed_on(process):
            pause = LOOK
            while (code := _ended(process, pause)) is None:
                pause = _looked(watch)
        seen = watch.finish()
    return Watched(seen, watch.told(), time.monotonic() - began, code if code >= 0 else 128 - code)


def _looked(watch: Watch) -> float:
    """Look, and give the seconds until the next time."""
    began = time.process_time()
    watch.look()
    return max(LOOK, (time.process_time() - began) / SHARE)


def _ended(process: subprocess.Popen[bytes], pause: float) -> int | None:
    try:
        return process.wait(pause)
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)  # ignored, it would be ignored by the command
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """Signals that came meanwhile: whoever watches what runs on says when it is enough, and wants the answer."""
    told: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: told.append(number)) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _all_below(pids: Sequence[int]) -> tuple[int, ...]:
    """Those of *pids* that live, and every process below each."""
    there = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    return tuple(dict.fromkeys(one for pid in there for one in (pid, *descendants_of(pid))))


def follow(fabric: str, pids: Sequence[int], seconds: float, admins: tuple[str, ...]) -> Watched:
    """Watch *pids* and all below them for *seconds*, or until all have ended, or until Ctrl-C or TERM.

    Raises NOT_FOUND, CONFLICT and DENIED for a process that cannot be watched from here.
    """
    _check_here(pids)
    began = time.monotonic()
    with Watch(fabric, lambda: _all_below(pids), admins) as watch, _told_to_stop() as told:
        pause = LOOK
        while (left := began + seconds - time.monotonic()) > 0 and not told and _all_below(pids):
            time.sleep(min(pause, left))
            pause = _looked(watch)
        seen = watch.finish()
    return Watched(seen, watch.told(), time.monotonic() - began)


def _check_here(pids: Iterable[int]) -> None:
    here = Path("/proc/self/ns/net").stat()
    for pid in pids:
        try:
            there = Path(f"/proc/{pid}/ns/net").stat()
        except PermissionError as error:
            detail = f"process {pid} is not yours to look at"
            raise RingfenceError(Kind.DENIED, detail, hint="Run it as that user or as root") from error
        except OSError as error:
            detail = f"process {pid} is not there"
            raise RingfenceError(Kind.NOT_FOUND, detail, hint="Name one that runs now") from error
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            detail = f"process {pid} is in another network namespace, whose counters are not those of this one"
            hint = (
                f"Run it there: nsenter --net=/proc/{pid}/ns/net --mount=/proc/{pid}/ns/mnt ringfence fabric leak-test"
            )
            raise RingfenceError(Kind.CONFLICT, detail, hint=hint)
