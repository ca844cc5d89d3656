"""Which key manager a server was told to use, checked, and opened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfence.broker.files import write_atomically
from ringfence.broker.keys.secret import read_secret, secret_file
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.disk import DiskKeys
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.keys.port import KeyManager

DISK, MEMORY, PKCS11 = "disk", "memory", "pkcs11"
PASSPHRASE_CREDENTIAL, PIN_CREDENTIAL = "ringfence.key-passphrase", "ringfence.pkcs11-pin"
FOLDER, OWNER = "keys", "pkcs11-owner"  # in the data folder


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """What a server was told of its keys. Secrets are named by their files, so that none is ever in here."""

    manager: str = DISK
    passphrase_file: Path | None = None
    module: Path | None = None
    token: str = ""
    pin_file: Path | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> KeyChoice:
        """From the options of `ringfence server run`; raises INVALID for those that do not go together."""
        return cls(
            manager=given.get("key_manager", DISK),
            passphrase_file=given.get("key_passphrase_file"),
            module=given.get("pkcs11_module"),
            token=given.get("pkcs11_token", ""),
            pin_file=given.get("pkcs11_pin_file"),
        )

    def __post_init__(self) -> None:
        if self.manager == MEMORY and self.passphrase_file is not None:
            raise _invalid("--key-passphrase-file is for keys on disk; those in memory are written nowhere")
        of_pkcs11 = {"--pkcs11-module": self.module, "--pkcs11-token": self.token, "--pkcs11-pin-file": self.pin_file}
        if self.manager == PKCS11:
            for flag in ("--pkcs11-module", "--pkcs11-token"):
                if not of_pkcs11[flag]:
                    raise _invalid(f"--key-manager pkcs11 needs {flag}")
            if self.passphrase_file is not None:
                raise _invalid("--key-passphrase-file is for keys on disk; a token has --pkcs11-pin-file")
        elif stray := [flag for flag, value in of_pkcs11.items() if value]:
            raise _invalid(f"{stray[0]} is for --key-manager pkcs11")

    @property
    def last(self) -> bool:
        """Whether a server finds its keys again after a restart."""
        return self.manager != MEMORY


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A key manager and the secret that opens it, for this process and for signers beside it."""

    manager: str
    folder: Path
    secret: bytes | None = field(default=None, repr=False)  # passphrase or PIN
    module: Path | None = None
    token: str = ""
    owner: str = ""

    def open(self, *, alone: bool = True) -> KeyManager:
        """The key manager, opened anew; not *alone*, beside the process that keeps it. Raises as `open_keys`."""
        if self.manager == PKCS11 and self.module is not None:
            from ringfence.broker.keys.pkcs11 import Pkcs11Keys

            return Pkcs11Keys(self.module, self.token, self.secret or b"", owner=self.owner)
        if self.manager != DISK:
            return MemoryKeys()
        return DiskKeys(self.folder, self.secret, alone=alone)


def unlock(choice: KeyChoice, data_dir: Path, environment: Mapping[str, str] = os.environ) -> Unlocked:
    """What opens the key manager of the server whose data folder this is; raises INVALID, UNAVAILABLE."""
    if choice.manager == PKCS11:
        pin_file = secret_file(choice.pin_file, PIN_CREDENTIAL, environment)
        if pin_file is None:
            raise _invalid(f"no PIN: give --pkcs11-pin-file or the systemd credential {PIN_CREDENTIAL}")
        pin = read_secret(pin_file, "the PIN", environment)
        return Unlocked(PKCS11, data_dir, pin, choice.module, choice.token, _owner(data_dir / OWNER))
    file = secret_file(choice.passphrase_file, PASSPHRASE_CREDENTIAL, environment) if choice.last else None
    passphrase = None if file is None else read_secret(file, "the passphrase", environment)
    return Unlocked(choice.manager, data_dir / FOLDER, passphrase)


def open_keys(choice: KeyChoice, data_dir: Path, environment: Mapping[str, str] = os.environ) -> KeyManager:
    """The key manager of the server whose data folder this is; raises INVALID, UNAVAILABLE, UNAUTHENTICATED."""
    return unlock(choice, data_dir, environment).open()


def _owner(path: Path) -> str:
    """A name that sets this server's keys apart on a token that others use: one that prunes must not meet theirs."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        name = secrets.token_hex(8)
        write_atomically(path, f"{name}\n".encode(), mode=0o600)
        return name
    except (OSError, UnicodeDecodeError):
        raise RingfenceError(
            Kind.INVALID, "the file that names our keys on the token cannot be read", where=str(path)
        ) from None


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint="See docs/keys.md")
