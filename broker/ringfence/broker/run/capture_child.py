"""What a captured command is between fork and exec: in its namespace, without a capability, as the user named for it.

With CAP_NET_ADMIN it could empty the firewall, with CAP_SYS_ADMIN leave the namespace: it has neither, nor a way to
get them back (capabilities(7), prctl(2) PR_SET_NO_NEW_PRIVS).
"""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringfence.broker.run.capture_netns import entering
from ringfence.certs.errors import Kind, RingfenceError

_CAPBSET_DROP, _SET_NO_NEW_PRIVS = 24, 38  # prctl(2)
_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 (capset(2))
_NOT_STARTED = 126


@dataclass(frozen=True, slots=True)
class User:
    """Whom the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, text: str) -> User:
        """By name or number; raises NOT_FOUND."""
        try:
            entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
        except (KeyError, OverflowError):
            raise RingfenceError(
                Kind.NOT_FOUND, f"--user {text[:40]}: no such user", hint="See `getent passwd`"
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def confined(netns: int, user: User | None) -> Callable[[], None]:
    """What a child does before exec; one that cannot be confined ends instead, with a word of why.

    Bound before the fork, as `die_with_parent`, which has to come after it: a change of user takes that signal away.
    """
    enter, drop = entering(netns), _dropping()

    def before_exec() -> None:
        try:
            # 1. The namespace, while it may be entered. 2. No program that it executes may have more than it has.
            enter()
            drop.bounds()
            # 3. The user, 4. what is left of capabilities, 5. nothing by set-user-ID or file capabilities.
            if user is not None:
                os.setgroups(user.groups)
                os.setresgid(user.gid, user.gid, user.gid)
                os.setresuid(user.uid, user.uid, user.uid)
            drop.own()
        except BaseException as error:  # noqa: BLE001  # whatever it was, nothing may run unconfined
            os.write(2, f"Error: the command cannot be confined: {error}\n".encode())
            os._exit(_NOT_STARTED)

    return before_exec


class _Dropping:
    def __init__(self, libc: ctypes.CDLL, last: int) -> None:
        self._libc, self._last = libc, last
        libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        self._header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
        self._nothing = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice 32 bits each

    def bounds(self) -> None:
        for capability in range(self._last + 1):
            self._check(self._libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0), "dropping a capability")

    def own(self) -> None:
        self._check(self._libc.capset(self._header, self._nothing), "dropping all capabilities")
        self._check(self._libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting no_new_privs")

    @staticmethod
    def _check(code: int, what: str) -> None:
        if code != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _dropping() -> _Dropping:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    return _Dropping(ctypes.CDLL(None, use_errno=True), last)
