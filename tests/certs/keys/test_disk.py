"""Keys on disk: private, whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.disk import DiskKeys, write_private


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "data" / "keys"


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_keys_survive_their_process(folder: Path, passphrase: bytes | None) -> None:
    """A second manager on the same folder holds the same keys."""
    public_key = DiskKeys(folder, passphrase).generate("a")
    again = DiskKeys(folder, passphrase)
    assert again.public_key("a") == public_key
    again.delete("a")
    assert DiskKeys(folder, passphrase).key_ids() == frozenset()


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    """0700 for the folder and 0600 for the files, whatever the umask."""
    before = os.umask(0)
    try:
        DiskKeys(folder).generate("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_an_encrypted_key_is_not_on_disk_in_the_clear(folder: Path) -> None:
    """The file says so in its first line, and the wrong passphrase or none opens nothing."""
    DiskKeys(folder, b"correct horse").generate("a")
    assert (folder / "a.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    for wrong, how in ((b"battery staple", "with this"), (None, "without a")):
        with pytest.raises(RingfenceError, match=f"cannot be read {how} passphrase") as caught:
            DiskKeys(folder, wrong)
        assert caught.value.where == str(folder / "a.pem")


def test_a_passphrase_may_be_added_later(folder: Path) -> None:
    """Keys written in the clear before are still read, new ones are encrypted."""
    DiskKeys(folder).generate("a")
    DiskKeys(folder, b"correct horse").generate("b")
    assert DiskKeys(folder, b"correct horse").key_ids() == {"a", "b"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_keys_that_others_can_read_are_refused(folder: Path, mode: int) -> None:
    """Better no start than an authority that may have been copied."""
    DiskKeys(folder).generate("a")
    (folder / "a.pem").chmod(mode)
    with pytest.raises(RingfenceError, match="this user alone") as caught:
        DiskKeys(folder)
    assert "chmod 600" in caught.value.hint


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    """Whoever can put a key there is the authority."""
    DiskKeys(folder)
    folder.chmod(0o770)
    with pytest.raises(RingfenceError, match="this user alone") as caught:
        DiskKeys(folder)
    assert "chmod 700" in caught.value.hint


def test_keys_of_another_user_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that somebody else prepared may hold a key that somebody else knows."""
    DiskKeys(folder).generate("a")
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(RingfenceError, match="this user alone"):
        DiskKeys(folder)


def test_a_link_is_no_key(folder: Path, tmp_path: Path) -> None:
    """A link could lead to where others write."""
    DiskKeys(folder).generate("a")
    (folder / "a.pem").rename(tmp_path / "elsewhere.pem")
    (folder / "a.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(RingfenceError, match="this user alone"):
        DiskKeys(folder)


def test_damaged_and_foreign_keys_are_refused(folder: Path) -> None:
    """The error names the file."""
    DiskKeys(folder)
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text, says in ((b"", "cannot be read"), (b"noise", "cannot be read"), (pem, "no elliptic curve key")):
        write_private(folder / "a.pem", text)
        with pytest.raises(RingfenceError, match=says) as caught:
            DiskKeys(folder)
        assert caught.value.where == str(folder / "a.pem")


def test_what_a_crash_left_is_cleared(folder: Path) -> None:
    """A write that was cut short left a file that no one reads, and the next start removes it."""
    DiskKeys(folder).generate("a")
    (folder / ".unfinished-x").write_bytes(b"half a key")
    assert DiskKeys(folder).key_ids() == {"a"}
    assert [path.name for path in folder.iterdir()] == ["a.pem"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The old content stays whole and the unfinished file goes."""
    (tmp_path / "a.pem").mkdir()
    (tmp_path / "a.pem" / "occupied").touch()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "a.pem", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pem"]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """A file in the way, a full disk or a missing right is an error of ours with the path in it."""
    (tmp_path / "file").touch()
    with pytest.raises(RingfenceError, match="keys cannot be kept") as caught:
        DiskKeys(tmp_path / "file" / "keys")
    assert caught.value.kind is Kind.UNAVAILABLE
    assert str(tmp_path / "file") in caught.value.where


def test_a_key_that_was_not_written_is_not_held(folder: Path) -> None:
    """When the disk refuses, the manager does not go on with a key that would be lost."""
    keys = DiskKeys(folder)
    folder.rmdir()
    with pytest.raises(RingfenceError, match="keys cannot be kept"):
        keys.generate("a")
    assert keys.key_ids() == frozenset()
