"""Runs perftest's ib_write_bw, where it is there and asked for: RDMA writes to a peer that runs it too."""

from __future__ import annotations

import os
import shutil
import subprocess

from ringfence.certs.errors import Kind, RingfenceError

SECONDS = 2
_PATIENCE = 15.0  # for the other end, and for the tool to end


def run_write_bw(device: str, peer: str) -> str:
    """What it prints as the client of *peer*, where it was started; raises NOT_FOUND, UNAVAILABLE or TIMEOUT."""
    program = shutil.which("ib_write_bw", path=f"{os.defpath}:/usr/sbin")
    if program is None:
        raise RingfenceError(Kind.NOT_FOUND, "ib_write_bw is not installed", hint="`apt-get install perftest`")
    first = f"On {peer} run `ib_write_bw -D {SECONDS} --report_gbits -d` with its device first"
    command = [program, "-d", device, "-D", str(SECONDS), "--report_gbits", peer]
    try:
        done = subprocess.run(  # noqa: S603  # no shell; a device's name and an address that were checked
            command, capture_output=True, check=False, env={"LC_ALL": "C"}, stdin=subprocess.DEVNULL, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise RingfenceError(Kind.TIMEOUT, f"ib_write_bw did not end in {_PATIENCE:g} s", hint=first) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        raise RingfenceError(Kind.UNAVAILABLE, f"ib_write_bw failed: {said[0]}", hint=first)
    return done.stdout.decode(errors="replace")
