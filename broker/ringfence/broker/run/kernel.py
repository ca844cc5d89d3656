"""What a launcher asks of the kernel: adopt orphans, die with the parent, list the children (prctl(2), proc(5))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_STARTED = 125  # exit code of a child that found its parent gone before it began


def _prctl() -> Callable[[int, int], int]:
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    return lambda option, value: int(prctl(option, value))


def become_subreaper() -> None:
    """From now on every orphan among the descendants becomes a child of this process; raises UNAVAILABLE.

    A process whose chain of parents ends here stays recognisable through setsid and double forks.
    """
    if _prctl()(_PR_SET_CHILD_SUBREAPER, 1) != 0:
        raise RingfenceError(
            Kind.UNAVAILABLE, f"cannot adopt orphans: {os.strerror(ctypes.get_errno())}", hint="Linux 3.4 can"
        )


def die_with_parent(signal_number: int, *, parent: int = 0) -> Callable[[], None]:
    """What a child does between fork and exec so that it gets *signal_number* once this process is gone.

    Bound before the fork: after it the child calls one libc function and nothing that could wait for a lock.
    The kernel watches the thread that forked, so call it and fork from the main thread. A child that binds it itself
    names its *parent*.
    """
    prctl, parent = _prctl(), parent or os.getpid()

    def before_exec() -> None:
        # The parent may have died between fork and prctl: then no signal will come.
        if prctl(_PR_SET_PDEATHSIG, signal_number) != 0 or os.getppid() != parent:
            os._exit(_NOT_STARTED)

    return before_exec


def children_of(pid: int) -> tuple[int, ...]:
    """The living and the unreaped children of *pid*; nothing when it is gone."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return ()
    return tuple(int(child) for text in lists for child in text.split())


def descendants_of(pid: int) -> Iterator[int]:
    """Every process below *pid*, parents before their children, as seen at one moment."""
    for child in children_of(pid):
        yield child
        yield from descendants_of(child)
