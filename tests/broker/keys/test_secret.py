"""Secrets in files: read when they are private, and never said."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.keys.secret import read_secret, secret_file
from ringfence.certs.errors import Kind, RingfenceError


def written(path: Path, text: bytes, mode: int = 0o600) -> Path:
    """A file with *text*."""
    path.write_bytes(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "secret"), [(b"horse\n", b"horse"), (b"horse\r\n", b"horse"), (b" a b ", b" a b "), (b"x\n\n", b"x\n")]
)
def test_one_newline_at_the_end_is_the_editors(tmp_path: Path, text: bytes, secret: bytes) -> None:
    """Everything else is the secret's."""
    assert read_secret(written(tmp_path / "s", text), "the passphrase", {}) == secret


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever reads it has the keys; whoever writes it chooses them."""
    with pytest.raises(RingfenceError, match="others may read or change") as caught:
        read_secret(written(tmp_path / "s", b"horse", mode), "the passphrase", {})
    assert caught.value.kind is Kind.INVALID
    assert "horse" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(("text", "word"), [(b"", "empty"), (b"\n", "empty"), (b"x" * 4097, "longer")])
def test_no_secret_and_too_long_ones_are_refused(tmp_path: Path, text: bytes, word: str) -> None:
    """An empty passphrase would encrypt nothing."""
    with pytest.raises(RingfenceError, match=word):
        read_secret(written(tmp_path / "s", text), "the passphrase", {})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, a device, nothing at all."""
    for path in (tmp_path, Path("/dev/null"), tmp_path / "missing"):
        with pytest.raises(RingfenceError) as caught:
            read_secret(path, "the PIN", {})
        assert caught.value.kind in {Kind.INVALID, Kind.UNAVAILABLE}


def test_a_systemd_credential_stands_in(tmp_path: Path) -> None:
    """Its folder is closed to others by systemd, so its own mode is not asked; a file that is named comes first."""
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    credential = written(tmp_path / "ringfence.key-passphrase", b"horse\n", 0o440)
    assert secret_file(None, credential.name, environment) == credential
    assert read_secret(credential, "the passphrase", environment) == b"horse"
    assert secret_file(None, "other", environment) is None
    assert secret_file(None, credential.name, {}) is None
    named = tmp_path / "named"
    assert secret_file(named, credential.name, environment) == named
    with pytest.raises(RingfenceError, match="others may read"):
        read_secret(credential, "the passphrase", {})
