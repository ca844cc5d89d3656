"""Whether the kernel lets a user wall off a run, and the first step of it; as a program it only finds out."""

from __future__ import annotations

import asyncio
import errno
import sys
from pathlib import Path

from ringfence.broker.run import isolate_kernel as kernel
from ringfence.certs.errors import Kind, RingfenceError

_SWITCHES = {  # what root sets to forbid it, the value that does, and the next step
    "user/max_user_namespaces": ("0", "Have root set sysctl user.max_user_namespaces to 65536"),
    "kernel/unprivileged_userns_clone": ("0", "Have root set sysctl kernel.unprivileged_userns_clone to 1"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "Have root give this Python an AppArmor profile with `userns,`: see apparmor.d(5)",
    ),
}
_CONTAINER = "In a container, its seccomp profile must permit unshare, setns and mount; else run without --isolate"


def enter() -> None:
    """Take this process into a user and a mount namespace of its own; raises UNAVAILABLE with the next step.

    Call it while there is one thread: the kernel refuses a process that has more.
    """
    try:
        kernel.unshare_user(kernel.NEW_MOUNTS)
        # Some kernels give a namespace, and no right in it: find out now.
        kernel.keep_mounts_inside()
    except OSError as error:
        raise refusal(error) from None


def refusal(error: OSError, proc: Path = Path("/proc/sys")) -> RingfenceError:
    """What the kernel said, and what to do about it."""
    what = f"the kernel refuses to isolate the workload: {error.strerror}"
    hint = _CONTAINER
    for name, (forbidding, step) in _SWITCHES.items():
        try:
            found = (proc / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if found == forbidding:
            hint = step
            break
    else:
        if error.errno == errno.ENOSPC:
            hint = "Too many namespaces are in use: end some, or have root raise sysctl user.max_user_namespaces"
    return RingfenceError(Kind.UNAVAILABLE, what, where=str(error.filename or ""), hint=hint)


async def refused() -> str:
    """Why this machine does not let this user isolate a run; empty when it does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "ringfence.broker.run.isolate_enter"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip() or ("" if process.returncode == 0 else f"the probe ended with {process.returncode}")


def _probe() -> int:
    try:
        enter()
        kernel.unshare_user(kernel.NEW_MOUNTS | kernel.NEW_NETWORK | kernel.NEW_IPC)
        kernel.loopback_up()
    except RingfenceError as error:
        print(error)  # noqa: T201  # the answer
        return 1
    except OSError as error:
        print(refusal(error))  # noqa: T201  # the answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_probe())
