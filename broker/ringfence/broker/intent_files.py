"""Intent documents as an operator keeps them: a folder of YAML files and the certificates and keys that they name."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from getpass import getuser
from pathlib import Path

from ringfence.broker.store.document import Document
from ringfence.certs.errors import Kind, RingfenceError

_SUFFIXES = frozenset({".yaml", ".yml", ".pem", ".crt", ".cer", ".jwks"})
_DOCUMENTS = frozenset({".yaml", ".yml"})
MAX_BYTES = 3 << 20  # all of them together: one message to the server


def read_documents(path: Path) -> tuple[Document, ...]:
    """Every document below *path* (or the one file), each by the path as named; raises NOT_FOUND or INVALID."""
    files = _files(path)
    if not any(file.suffix in _DOCUMENTS for file in files):
        raise RingfenceError(
            Kind.NOT_FOUND, "no intent documents here", where=str(path), hint="Name a folder with .yaml files"
        )
    documents = tuple(Document(str(file), _read(file)) for file in files)
    if (size := sum(len(document.text) for document in documents)) > MAX_BYTES:
        raise RingfenceError(Kind.INVALID, f"{size} bytes of intent; at most {MAX_BYTES} are taken", where=str(path))
    return documents


def authorship(path: Path) -> tuple[str, str]:
    """Author and commit of *path* as git knows them, `-dirty` where files differ; else who runs this, and nothing."""
    folder = path if path.is_dir() else path.parent
    found = _git(folder, "log", "-1", "--format=%H%n%an <%ae>")
    if not found:
        return _user(), ""
    commit, _, author = found.partition("\n")
    dirty = _git(folder, "status", "--porcelain", "--", ".")
    return author, f"{commit}-dirty" if dirty else commit


def _files(path: Path) -> Sequence[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix in _SUFFIXES and file.is_file() and not _hidden(file.relative_to(path))
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RingfenceError(
            Kind.INVALID, f"cannot be read: {error.strerror}", where=str(file), hint="Check its owner and mode"
        ) from error


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607  # the user's own git
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no git: then there is no commit to tell
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return ""
