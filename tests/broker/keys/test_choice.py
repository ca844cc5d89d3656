"""Which key manager a server opens, and what it refuses to be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.keys.choice import KeyChoice, open_keys
from ringfence.broker.keys.pkcs11 import Pkcs11Keys
from ringfence.certs.errors import Kind, RingfenceError
from tests.tokens import LABEL, PIN, softhsm


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"manager": "pkcs11", "token": "t"}, "needs --pkcs11-module"),
        ({"manager": "pkcs11", "module": Path("/m")}, "needs --pkcs11-token"),
        ({"manager": "pkcs11", "module": Path("/m"), "token": "t", "passphrase_file": Path("/p")}, "for keys on disk"),
        ({"token": "t"}, "--pkcs11-token is for"),
        ({"module": Path("/m")}, "--pkcs11-module is for"),
        ({"pin_file": Path("/p")}, "--pkcs11-pin-file is for"),
    ],
)
def test_options_that_do_not_go_together_are_refused(told: dict[str, Any], words: str) -> None:
    """An option that would do nothing is a mistake, and one about keys is said before anything starts."""
    with pytest.raises(RingfenceError, match=words) as caught:
        KeyChoice(**told)
    assert caught.value.kind is Kind.INVALID


def test_keys_on_disk_are_encrypted_by_the_passphrase(tmp_path: Path) -> None:
    """From a file, and without it they are not read."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_bytes(b"correct horse\n")
    passphrase.chmod(0o600)
    open_keys(KeyChoice(passphrase_file=passphrase), tmp_path, {}).generate("a")
    assert b"ENCRYPTED" in (tmp_path / "keys" / "a.pem").read_bytes()
    with pytest.raises(RingfenceError, match="passphrase") as caught:
        open_keys(KeyChoice(), tmp_path, {})
    assert "horse" not in str(caught.value)


def test_keys_from_before_the_passphrase_are_encrypted_at_start(tmp_path: Path) -> None:
    """The keys stay the same; the systemd credential is found by itself."""
    public = open_keys(KeyChoice(), tmp_path, {}).generate("a")
    file = tmp_path / "keys" / "a.pem"
    assert b"ENCRYPTED" not in file.read_bytes()
    (tmp_path / "ringfence.key-passphrase").write_bytes(b"correct horse")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert open_keys(KeyChoice(), tmp_path, environment).public_key("a") == public
    assert b"ENCRYPTED" in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_token_is_opened_with_the_pin_of_a_file(tmp_path: Path) -> None:
    """Its keys are found again by the name in the data folder; without a PIN nothing is tried."""
    choice = KeyChoice("pkcs11", module=softhsm().module, token=LABEL)
    with pytest.raises(RingfenceError, match="no PIN"):
        open_keys(choice, tmp_path, {})
    pin = tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o600)
    choice = KeyChoice("pkcs11", module=softhsm().module, token=LABEL, pin_file=pin)
    first = open_keys(choice, tmp_path, {})
    assert isinstance(first, Pkcs11Keys)
    public = first.generate("a")
    first.close()
    later = open_keys(choice, tmp_path, {})
    assert isinstance(later, Pkcs11Keys)
    assert later.public_key("a") == public
    later.close()
    assert (tmp_path / "pkcs11-owner").stat().st_mode & 0o777 == 0o600
