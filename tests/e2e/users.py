"""Another user than root for a child process, who may run this interpreter wherever it lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests import parts

STRANGER = 47113  # a number that no user of a machine has

# In a mount namespace of its own: the interpreter's folder, without what keeps others out of the one above it.
_OPEN = """
set -e
held=$(mktemp -d)
mount --bind "$2" "$held"
mount -t tmpfs -o mode=755 none "$1"
mkdir -p "$2"
mount --move "$held" "$2"
rmdir "$held"
shift 2
exec "$@"
"""


def as_user(uid: int = STRANGER) -> tuple[str, ...]:
    """What to put before a command so that *uid* runs it; takes root."""
    become = ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--inh-caps=-all")
    return (*open_to_all(), *become)


def open_to_all() -> tuple[str, ...]:
    """What to put before a command so that whoever it becomes may run this interpreter; takes root."""
    parts.root()
    interpreter = Path(sys.executable).resolve()
    for folder in reversed(interpreter.parents):
        if not folder.stat().st_mode & 0o001:
            below = folder / interpreter.relative_to(folder).parts[0]
            return ("unshare", "--mount", "sh", "-c", _OPEN, "sh", str(folder), str(below))
    return ()


def users() -> list[tuple[int, bool]]:
    """(uid, whether it is another one): root and a stranger to it, or whoever runs the tests."""
    return [(0, False), (STRANGER, True)] if os.geteuid() == 0 else [(os.geteuid(), False)]
