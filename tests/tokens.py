"""A SoftHSM token for tests: one a process, since the library reads its settings once; owners keep tests apart."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import parts

LABEL, PIN = "ringfence", "7391"
_LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
_owners = itertools.count()


@dataclass(frozen=True, slots=True)
class Token:
    """Where the module is, and the settings by which another process finds the same token."""

    module: Path
    settings: Path


@cache
def softhsm() -> Token:
    """A token `LABEL` with the user PIN `PIN`, which lasts as long as this process."""
    program = parts.program("softhsm2-util", "softhsm2")
    module = next((Path(path) for path in _LIBRARIES if Path(path).exists()), None)
    if module is None:
        parts.missing("SoftHSM's module", "apt-get install softhsm2")
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    command = [program, "--init-token", "--free", "--label", LABEL, "--so-pin", "73917391", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    return Token(module, settings)


def new_owner() -> str:
    """A name under which the token holds no keys yet."""
    return f"test{os.getpid()}x{next(_owners)}"
