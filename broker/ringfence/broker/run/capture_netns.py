"""A network namespace for the workload: made or found, held open, changed from a thread that has entered it.

network_namespaces(7), setns(2). It ends when nothing holds it: not this process, not the proxy, not the workload.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ringfence.broker.run.ports import bind_here
from ringfence.certs.errors import Kind, RingfenceError

_T = TypeVar("_T")
_NEW_NET = 0x40000000  # CLONE_NEWNET
_OURS = "/proc/self/ns/net"
_OF_THREAD = "/proc/thread-self/ns/net"
_PATIENCE = 20.0  # seconds for one nft or ip, which take milliseconds


def made() -> int:
    """A descriptor of a new, empty network namespace; raises DENIED."""
    libc = ctypes.CDLL(None, use_errno=True)

    def make() -> int:
        if libc.unshare(_NEW_NET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise RingfenceError(Kind.DENIED, f"cannot make a network namespace: {why}", hint="Run it as root")
        return os.open(_OF_THREAD, os.O_RDONLY | os.O_CLOEXEC)

    return _in_a_thread(make)


def found(path: str) -> int:
    """A descriptor of the namespace at *path*, which no other run has; raises NOT_FOUND, INVALID or CONFLICT."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "Make one with `ip netns add NAME`: it is /run/netns/NAME"
        raise RingfenceError(Kind.NOT_FOUND, f"no network namespace: {error.strerror}", where=path, hint=hint) from None
    try:
        _check(descriptor, path)
    except RingfenceError:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int, path: str) -> None:
    # 1. The proxy's own, and the host's, must never be captured: everything on it would lose its network.
    here, there = Path(_OURS).stat(), os.fstat(descriptor)
    if there.st_dev != here.st_dev:
        raise RingfenceError(Kind.INVALID, "is no network namespace", where=path)
    if there.st_ino == here.st_ino:
        raise RingfenceError(
            Kind.INVALID,
            "this is the network namespace of `ringfence run` itself, in which its proxy has to stay free",
            where=path,
            hint="Name another one with --netns, or none: one is made",
        )
    # 2. Two runs would take each other's rules away. The lock ends with its holder, however that ends.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RingfenceError(
            Kind.CONFLICT, "another `ringfence run` captures this network namespace", where=path, hint="End it first"
        ) from None


def check_interfaces(descriptor: int, names: Iterable[str]) -> None:
    """Refuse a name that no interface there has: its fabric would be captured. Raises NOT_FOUND."""
    enter = entering(descriptor)

    def listed() -> list[str]:
        enter()
        return [name for _, name in socket.if_nameindex()]

    there = _in_a_thread(listed)
    if lacking := [name for name in names if name not in there]:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"--exclude-interface {lacking[0]}: the workload's namespace has {', '.join(there)}",
            hint="Move it there first: `ip link set NAME netns NETNS`",
        )


def within(descriptor: int, *commands: tuple[tuple[str, ...], str]) -> None:
    """Run each (command, its standard input) in that namespace; raises UNAVAILABLE with what the first bad one said.

    Blocks for milliseconds, and must, while something else reaps this process's children.
    """
    enter = entering(descriptor)

    def run() -> None:
        enter()
        for command, text in commands:
            _run(command, text)

    _in_a_thread(run)


def bound(descriptor: int, host: str, port: int) -> socket.socket:
    """A socket of that namespace, for everybody there to connect to once it listens; raises OSError."""
    enter = entering(descriptor)

    def bind() -> socket.socket:
        enter()
        return bind_here(host, port)

    return _in_a_thread(bind)


def entering(descriptor: int) -> Callable[[], None]:
    """What moves the calling thread into the namespace, bound beforehand; raises OSError."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    setns.argtypes = [ctypes.c_int, ctypes.c_int]

    def enter() -> None:
        if setns(descriptor, _NEW_NET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network namespace")

    return enter


def _run(command: tuple[str, ...], text: str) -> None:
    done = subprocess.run(  # noqa: S603  # our own words, by a path that was looked up
        command, input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        first = said[0] if said else f"code {done.returncode}"
        hint = "Does this kernel have nf_tables, nft_redir, nft_fib and nf_conntrack?"
        raise RingfenceError(Kind.UNAVAILABLE, f"{Path(command[0]).name} failed: {first}", hint=hint)


def program(name: str, package: str) -> str:
    """The path of a program that Debian's *package* brings; raises NOT_FOUND."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise RingfenceError(Kind.NOT_FOUND, f"--capture needs {name}", hint=f"apt-get install {package}")
    return path


def _in_a_thread(work: Callable[[], _T]) -> _T:
    """In a thread of its own, since entering a namespace moves the thread and there is no way back."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
