"""The folder: all at once or not at all, rights, and whose folder it may be."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.broker.svidfiles import folder as module
from ringfence.broker.svidfiles.contents import Content
from ringfence.broker.svidfiles.folder import DATA, publish
from ringfence.broker.svidfiles.wanted import Access
from ringfence.certs.errors import Kind, RingfenceError
from tests import parts


def _pair(text: str) -> dict[str, Content]:
    return {"svid.pem": Content(text.encode(), 0o644), "key.pem": Content(text.encode(), 0o600)}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _versions(folder: Path) -> list[str]:
    return [name for name in _names(folder) if name.startswith("..v.")]


def _denied(error: RingfenceError) -> bool:
    return error.kind is Kind.DENIED


@pytest.fixture
def umask() -> Iterator[None]:
    """The widest umask, so that modes are what the code says."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_have_their_modes(tmp_path: Path) -> None:
    """Whatever the umask; and others may not write in the folders."""
    publish(tmp_path / "new", _pair("1"), Access())
    modes = {
        name: stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in ("svid.pem", "key.pem", DATA, ".")
    }
    assert modes == {"svid.pem": 0o644, "key.pem": 0o600, DATA: 0o755, ".": 0o755}


def test_files_have_their_owner(tmp_path: Path) -> None:
    """User and group."""
    parts.root()
    publish(tmp_path, _pair("1"), Access(uid=12345, gid=23456))
    found = (tmp_path / "key.pem").stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)


def test_the_set_before_is_kept_and_older_ones_go(tmp_path: Path) -> None:
    """Whoever is reading the set before reads on; what a crash left is removed as well."""
    (tmp_path / "..link-0123456789abcdef").symlink_to("nowhere")
    for text in "123":
        publish(tmp_path, _pair(text), Access())
        inside = tmp_path / DATA
    assert (inside / "key.pem").read_text() == "3"
    assert sorted((tmp_path / name / "key.pem").read_text() for name in _versions(tmp_path)) == ["2", "3"]
    assert _names(tmp_path) == sorted([*_versions(tmp_path), DATA, "svid.pem", "key.pem"])


def test_a_file_of_before_is_replaced_and_strangers_are_left_alone(tmp_path: Path) -> None:
    """A key.pem that somebody put there becomes ours; other names are not touched."""
    (tmp_path / "key.pem").write_text("old")
    (tmp_path / "mine.pem").write_text("mine")
    publish(tmp_path, _pair("1"), Access())
    publish(tmp_path, {"svid.pem": Content(b"2", 0o644)}, Access())
    assert (tmp_path / "mine.pem").read_text() == "mine"
    assert (tmp_path / "svid.pem").read_text() == "2"
    assert not (tmp_path / "key.pem").is_symlink()


@pytest.mark.slow
def test_a_reader_never_sees_a_key_without_its_certificate(tmp_path: Path) -> None:
    """A reader that opens the set once sees one set, however often it is swapped; the combined file always fits."""
    seen, torn, stop = set(), [], threading.Event()
    publish(tmp_path, {**_pair("0"), "all.pem": Content(b"0 0", 0o600)}, Access())

    def read() -> None:
        while not stop.is_set():
            inside = (tmp_path / DATA).resolve()
            try:
                texts = [(inside / name).read_bytes() for name in ("svid.pem", "key.pem")]
            except FileNotFoundError:
                continue  # two swaps while it read: it looks anew
            first, second = (tmp_path / "all.pem").read_bytes().split()
            seen.add(texts[0])
            if texts[0] != texts[1] or first != second:
                torn.append(str(texts))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        text = str(number)
        publish(tmp_path, {**_pair(text), "all.pem": Content(f"{text} {text}".encode(), 0o600)}, Access())
    stop.set()
    reader.join()
    assert not torn
    assert len(seen) > 1


def test_a_failure_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half-way changes nothing, and nothing is left behind."""
    publish(tmp_path, _pair("1"), Access())
    write, calls = module._write, []

    def full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(RingfenceError, match="No space", check=lambda error: error.kind is Kind.EXHAUSTED):
        publish(tmp_path, _pair("2"), Access())
    assert (tmp_path / "key.pem").read_text() == "1"
    assert len(_versions(tmp_path)) == 1


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever can swap the link hands a program another key."""
    tmp_path.chmod(mode)
    with pytest.raises(RingfenceError, check=_denied):
        publish(tmp_path, _pair("1"), Access())
    assert _names(tmp_path) == []


def test_a_folder_of_another_user_is_refused_but_for_the_files_owner(tmp_path: Path) -> None:
    """The user that the files are for may own it."""
    parts.root()
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(RingfenceError, check=_denied):
        publish(tmp_path, _pair("1"), Access(uid=54321))
    publish(tmp_path, _pair("1"), Access(uid=12345))
    assert (tmp_path / "key.pem").stat().st_uid == 12345


def test_a_link_in_place_of_the_new_folder_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the folder cannot turn the writer against another folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = tmp_path / "files"
    mkdir = os.mkdir

    def swapped(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is None:
            mkdir(path, mode)
        else:
            os.symlink(elsewhere, path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(RingfenceError):
        publish(target, _pair("1"), Access())
    assert _names(elsewhere) == []


def test_another_users_folder_in_place_of_the_new_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could read along, or swap a file later."""
    parts.root()
    mkdir = os.mkdir

    def swapped(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        if dir_fd is not None:
            os.chown(path, 12345, -1, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(RingfenceError, match="another user's", check=_denied):
        publish(tmp_path, _pair("1"), Access())
    assert _names(tmp_path) == []
