"""Keys in files: one PEM each, 0600 in a 0700 folder, encrypted if there is a passphrase, written whole or not."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import check_key_id, no_such_key

_ECDSA = ec.ECDSA(hashes.SHA256())
_SUFFIX = ".pem"
_UNFINISHED = ".unfinished-"


class DiskKeys:
    """A key manager that survives its process. All keys are read once, at construction; raises INVALID, UNAVAILABLE.

    Not *alone*, it reads what another process keeps: it makes no folder, clears nothing up and encrypts nothing.
    """

    def __init__(self, folder: Path, passphrase: bytes | None = None, *, alone: bool = True) -> None:
        self._folder = folder
        self._alone = alone
        self._encryption: KeySerializationEncryption = (
            BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        )
        with _explained(folder):
            if alone:
                _private_folder(folder)
            self._keys = {path.name.removesuffix(_SUFFIX): self._load(path, passphrase) for path in _key_files(folder)}

    def __repr__(self) -> str:
        return f"<DiskKeys with {len(self._keys)} keys in {self._folder}>"

    def generate(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """Make a P-256 key under a new name; on disk before this returns."""
        if check_key_id(key_id) in self._keys:
            raise RingfenceError(Kind.CONFLICT, f"the key {key_id!r} exists")
        key = ec.generate_private_key(ec.SECP256R1())
        with _explained(self._folder):
            self._write(self._path(key_id), key)
        self._keys[key_id] = key
        return key.public_key()

    def public_key(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._key(key_id).public_key()

    def sign(self, key_id: str, data: bytes) -> bytes:
        """The DER signature over SHA-256 of *data*."""
        return self._key(key_id).sign(data, _ECDSA)

    def delete(self, key_id: str) -> None:
        """Forget the key and unlink its file."""
        self._key(key_id)
        with _explained(self._folder):
            self._path(key_id).unlink(missing_ok=True)
            _sync_folder(self._folder)
        del self._keys[key_id]

    def key_ids(self) -> frozenset[str]:
        """The names of all keys held."""
        return frozenset(self._keys)

    def _load(self, path: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
        key, encrypted = _read(path, passphrase)
        # From before there was a passphrase: it shall not stay in the open.
        if self._alone and passphrase and not encrypted:
            self._write(path, key)
        return key

    def _write(self, path: Path, key: ec.EllipticCurvePrivateKey) -> None:
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption))

    def _key(self, key_id: str) -> ec.EllipticCurvePrivateKey:
        try:
            return self._keys[key_id]
        except KeyError:
            raise no_such_key(key_id) from None

    def _path(self, key_id: str) -> Path:
        return self._folder / f"{key_id}{_SUFFIX}"


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file whole or not at all: synced under another name first, then renamed. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)  # made 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(folder)
    for left in folder.glob(f"{_UNFINISHED}*"):  # a write that a crash cut short
        left.unlink()


def _key_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)


def _read(path: Path, passphrase: bytes | None) -> tuple[ec.EllipticCurvePrivateKey, bool]:
    _check_private(path)
    pem = path.read_bytes()
    try:
        encrypted = b"ENCRYPTED" in pem.partition(b"\n")[0]
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RingfenceError(
            Kind.INVALID,
            "the key file cannot be read " + ("with this passphrase" if passphrase else "without a passphrase"),
            where=str(path),
            hint="Give the passphrase it was written with (--key-passphrase-file), or restore the file from a backup",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RingfenceError(Kind.INVALID, "the file holds no elliptic curve key", where=str(path))
    return key, encrypted


def _check_private(path: Path) -> None:
    # Whoever else can read a key, or put one in its place, is the authority. A link's own mode is 0777, so none passes.
    facts = path.lstat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise RingfenceError(
            Kind.INVALID,
            "keys must belong to this user alone",
            where=str(path),
            hint=f"Run: chown {os.geteuid()} and chmod {'700' if stat.S_ISDIR(facts.st_mode) else '600'} on it",
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RingfenceError(
            Kind.UNAVAILABLE,
            f"keys cannot be kept: {error.strerror or error}",
            where=str(error.filename or folder),
            hint="Check the folder's owner, mode and free space",
        ) from error
