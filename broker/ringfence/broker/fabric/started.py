"""What a process was started with: /proc/PID/environ.

Apart from `attest.procfs`, which the agent's loop reads with: these pages are the process's own and may be swapped out.
"""

from __future__ import annotations

import os
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError


def environment(pid: int) -> dict[str, str]:
    """The variables that process *pid* was started with (proc(5)); raises NOT_FOUND or DENIED.

    Of a name that is there twice the first counts, as it does for getenv(3).
    """
    path = Path(f"/proc/{pid}/environ")
    try:
        data = path.read_bytes()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise _absent(pid) from error
    except PermissionError as error:
        raise RingfenceError(
            Kind.DENIED, f"the environment of process {pid} is not yours to read", hint="Run it as that user or as root"
        ) from error
    if not data:
        raise _absent(pid)
    found: dict[str, str] = {}
    for entry in data.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals:
            found.setdefault(os.fsdecode(name), os.fsdecode(value))
    return found


def _absent(pid: int) -> RingfenceError:
    detail = f"process {pid} is not there, has ended or has no environment"
    return RingfenceError(Kind.NOT_FOUND, detail, hint="Name the ranks that run now")
