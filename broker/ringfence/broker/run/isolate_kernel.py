"""What an isolated run asks of the kernel: namespaces, mounts and the end of privileges (namespaces(7), mount(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000  # CLONE_*
_NO_SET_UID, _NO_DEVICES, _BIND, _RECURSIVE = 2, 4, 4096, 16384  # MS_*
_SLAVE = 1 << 19  # MS_SLAVE
_NO_SYMLINKS = 256  # MS_NOSYMFOLLOW, Linux 5.10
_DETACH = 2  # MNT_DETACH
_SET_SECUREBITS, _DROP_BOUND, _NO_NEW_PRIVILEGES = 28, 24, 38  # PR_*
_ROOT_IS_NOBODY = 0b11  # SECBIT_NOROOT and its lock: uid 0 gains nothing by exec
_CAPABILITIES_V3 = 0x20080522
_CREATE_RULESET, _RESTRICT_SELF, _SCOPE_SIGNAL = 444, 446, 2  # landlock(7), the same on every machine
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP (netdevice(7))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


def unshare_user(more: int) -> None:
    """A user namespace of this process's own, and the namespaces *more* in it; raises OSError.

    Only its own user and group are in it, as themselves: files keep their owners, and nobody else can be become.
    """
    user, group = os.geteuid(), os.getegid()
    _done(_libc.unshare(NEW_USER | more), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def keep_mounts_inside() -> None:
    """Let no mount of this namespace show outside (mount_namespaces(7)); raises OSError."""
    _done(_libc.mount(None, b"/", None, _SLAVE | _RECURSIVE, None), "/")


def join_network(pid: int) -> None:
    """Take the calling thread, and no other, into the network namespace of *pid* (setns(2)); raises OSError."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _done(_libc.setns(descriptor, NEW_NETWORK), f"/proc/{pid}/ns/net")
    finally:
        os.close(descriptor)


def mount_memory(path: str, mode: int) -> None:
    """An empty file system of its own over *path*, on which no symbolic link leads anywhere; raises OSError."""
    flags = _NO_SET_UID | _NO_DEVICES | _NO_SYMLINKS
    _done(_libc.mount(b"ringfence", os.fsencode(path), b"tmpfs", flags, b"mode=%o" % mode), path)


def cover(path: str) -> None:
    """The same without that rule, for a folder in which programs find what they made themselves."""
    mode = os.stat(path).st_mode & 0o7777  # noqa: PTH116  # a plain question
    flags = _NO_SET_UID | _NO_DEVICES
    _done(_libc.mount(b"ringfence", os.fsencode(path), b"tmpfs", flags, b"mode=%o" % mode), path)


def bind(source: str, target: str) -> None:
    """*source* and what is mounted below it, at *target* too; raises OSError."""
    _done(_libc.mount(os.fsencode(source), os.fsencode(target), None, _BIND | _RECURSIVE, None), target)


def unmount(path: str) -> None:
    """Take away what was mounted over *path*; raises OSError."""
    _done(_libc.umount2(os.fsencode(path), _DETACH), path)


def loopback_up() -> None:
    """Bring up `lo` of this network namespace, with 127.0.0.1 and ::1; raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def drop_privileges() -> None:
    """Give up every capability in this namespace, and every way to one: root's, set-uid's; raises OSError.

    Without it, root in its own namespace could take away what covers a folder.
    """
    _done(_libc.prctl(_SET_SECUREBITS, _ROOT_IS_NOBODY, 0, 0, 0), "securebits")
    capability = 0
    while _libc.prctl(_DROP_BOUND, capability, 0, 0, 0) == 0:  # EINVAL behind the last that this kernel knows
        capability += 1
    _done(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    _done(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def keep_signals_inside() -> None:
    """Let no signal of this process, and of what it starts, reach anybody else (landlock(7)); raises OSError.

    Before Linux 6.12 the kernel knows no such scope, and nothing is done. Takes no_new_privs.
    """
    scoped = (ctypes.c_uint64 * 3)(0, 0, _SCOPE_SIGNAL)  # struct landlock_ruleset_attr
    rules = _libc.syscall(_CREATE_RULESET, scoped, ctypes.sizeof(scoped), 0)
    if rules < 0 and ctypes.get_errno() in {errno.ENOSYS, errno.EOPNOTSUPP, errno.E2BIG, errno.EINVAL}:
        return
    _done(min(rules, 0), "landlock")
    try:
        _done(_libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
    finally:
        os.close(rules)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
