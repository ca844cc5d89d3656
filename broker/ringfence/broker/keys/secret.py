"""A passphrase or a PIN in a file: read once, never shown, refused when others can read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd.exec(5): only the unit's own user may enter it
MAX_BYTES = 4096


def secret_file(given: Path | None, credential: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that holds a secret: the one *given*, else the systemd credential of that name, else none."""
    if given is not None or not environment.get(CREDENTIALS):
        return given
    path = Path(environment[CREDENTIALS]) / credential
    return path if path.exists() else None


def read_secret(path: Path, what: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """What *path* holds, without the newline at its end; raises INVALID or UNAVAILABLE, and never says any of it."""
    try:
        with path.open("rb") as file:
            # 1. It is a file, looked at through the handle that is read, so that nobody can swap it in between.
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise _invalid(f"{what} is in no regular file", path)
            # 2. Nobody else can read or write it. A credential's mode is systemd's business: its folder is closed.
            if not _is_credential(path, environment) and not _is_private(facts):
                raise _invalid(
                    f"others may read or change the file with {what}",
                    path,
                    f"Run: chmod 600 {path} (and check its owner)",
                )
            # 3. It is short.
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RingfenceError(
            Kind.UNAVAILABLE, f"{what} cannot be read: {error.strerror}", where=str(path), hint="Check the file"
        ) from None
    if len(text) > MAX_BYTES:
        raise _invalid(f"{what} is longer than {MAX_BYTES} bytes", path)
    # 4. It is not empty: an empty passphrase would leave the keys in the open.
    secret = text.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise _invalid(f"{what} is empty", path)
    return secret


def _is_private(facts: os.stat_result) -> bool:
    return facts.st_uid in {os.geteuid(), 0} and not facts.st_mode & 0o077


def _is_credential(path: Path, environment: Mapping[str, str]) -> bool:
    folder = environment.get(CREDENTIALS)
    return bool(folder) and path.parent == Path(folder or "")


def _invalid(detail: str, path: Path, hint: str = "") -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, where=str(path), hint=hint or "Write the secret to a file of its own")
