"""Runs nft(8) and ip(8) in the network namespace that this process is in."""

from __future__ import annotations

import shutil
import subprocess

from ringfence.certs.errors import Kind, RingfenceError

_PATIENCE = 30.0  # seconds for one, which takes milliseconds
_PACKAGES = {"nft": "nftables", "ip": "iproute2"}


def run(command: tuple[str, ...], text: str = "") -> str:
    """What *command* prints, told *text*; raises NOT_FOUND without the program, DENIED without leave, UNAVAILABLE."""
    name, shown = command[0], " ".join(command)
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise RingfenceError(Kind.NOT_FOUND, f"there is no {name}", hint=f"apt-get install {_PACKAGES[name]}")
    try:
        done = subprocess.run(  # noqa: S603  # our own words, by a path that was looked up
            [path, *command[1:]], input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise RingfenceError(Kind.UNAVAILABLE, f"`{shown}` took over {_PATIENCE:.0f} s", hint="Try again") from None
    except OSError as error:
        raise RingfenceError(
            Kind.UNAVAILABLE, f"`{shown}` cannot be run: {error.strerror}", hint="Try again; see `ulimit -u`"
        ) from None
    if done.returncode == 0:
        return done.stdout
    why = " ".join(done.stderr.split())[:500]
    if "not permitted" in why:
        raise RingfenceError(Kind.DENIED, f"`{shown}` needs CAP_NET_ADMIN", hint="Run it as root")
    hint = "`ringfence fabric plan` shows what is to be done"
    raise RingfenceError(Kind.UNAVAILABLE, f"`{shown}` failed: {why}", hint=hint)
