"""`ringfence audit`, on files alone."""

from __future__ import annotations

import asyncio
import json
from itertools import islice
from pathlib import Path

import pytest

from ringfence.broker.audit.chain import ACTIVE, files_of
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.cli.audit import _coming
from tests.broker.cli.operator import ringfence
from tests.broker.world import Clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a log of nine records in several files."""
    log = AuditLog.open(tmp_path / ACTIVE, clock=Clock(), rotate_bytes=900)
    for number in range(1, 10):
        action = "entry.create" if number % 2 else "token.use"
        log.append([Event(action, f"e{number}", actor=f"uid:{number % 3}")])
    log.close()
    return tmp_path


async def test_a_sound_log_is_verified_without_a_server(folder: Path) -> None:
    """Over all of its files, and each file for itself."""
    done = await ringfence("audit", "verify", "--data-dir", folder, "-o", "json")
    assert (done.code, done.json["ok"], done.json["records"], done.json["last"]) == (0, True, 9, 9)
    alone = await ringfence("audit", "verify", folder / ACTIVE, "-o", "json")
    assert (alone.code, alone.json["last"], alone.json["first"] > 1) == (0, 9, True)


async def test_a_broken_log_ends_with_4_and_names_the_record(folder: Path) -> None:
    """And where it stands."""
    first = await asyncio.to_thread(lambda: files_of(folder / ACTIVE)[0])
    await asyncio.to_thread(lambda: first.write_bytes(first.read_bytes().replace(b'"e2"', b'"xx"')))
    done = await ringfence("audit", "verify", "--data-dir", folder)
    assert done.code == 4
    assert "record 2" in done.err
    assert f"{first}:2" in done.err
    assert (await ringfence("audit", "show", "--data-dir", folder)).code == 4


async def test_an_anchor_finds_a_log_that_was_cut_short(folder: Path) -> None:
    """The chain alone cannot: what is left of it holds."""
    sound = (await ringfence("audit", "verify", "--data-dir", folder, "-o", "json")).json
    anchor = f"{sound['last']}:{sound['head']}"
    assert (await ringfence("audit", "verify", "--data-dir", folder, "--anchor", anchor)).code == 0
    await asyncio.to_thread(_cut_short, folder / ACTIVE)
    assert (await ringfence("audit", "verify", "--data-dir", folder)).code == 0
    cut = await ringfence("audit", "verify", "--data-dir", folder, "--anchor", anchor)
    assert cut.code == 4
    assert "record 9" in cut.err
    assert (await ringfence("audit", "verify", "--data-dir", folder, "--anchor", "nine")).code == 2


async def test_records_are_shown_by_what_was_done_by_whom_to_what(folder: Path) -> None:
    """All filters hold together; a trailing dot is a whole family of actions."""
    shown = await ringfence("audit", "show", "--data-dir", folder, "--action", "entry.", "--last", "2", "-o", "json")
    assert [item["subject"] for item in shown.json["items"]] == ["e7", "e9"]
    filters = ("--action", "token.use", "--actor", "uid:1")
    shown = await ringfence("audit", "show", "--data-dir", folder, *filters, "-o", "name")
    assert shown.out.split() == ["4"]
    assert (await ringfence("audit", "show", "--data-dir", folder, "--subject", "e3", "-o", "name")).out == "3\n"
    assert "ACTION" in (await ringfence("audit", "show", "--data-dir", folder)).out


async def test_the_newest_records_are_tailed_a_line_each(folder: Path) -> None:
    """As JSON for machines, as words for people."""
    done = await ringfence("audit", "tail", "--no-follow", "--last", "3", "--data-dir", folder, "-o", "json")
    assert [json.loads(line)["seq"] for line in done.out.splitlines()] == [7, 8, 9]
    done = await ringfence("audit", "tail", "--no-follow", "--last", "1", "--data-dir", folder)
    assert "entry.create" in done.out


def test_following_misses_nothing_over_rotations(folder: Path) -> None:
    """Records that came between two looks stand in files that were rotated away since."""
    log = AuditLog.open(folder / ACTIVE, clock=Clock(), rotate_bytes=900)
    coming = _coming(folder / ACTIVE, 9)
    log.append([Event("a", "b")])
    found = [next(coming)["seq"]]
    for _ in range(12):
        log.append([Event("a", "b")])
    log.close()
    found += [row["seq"] for row in islice(coming, 12)]
    assert found == list(range(10, 23))


async def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    """And no folder at all is bad usage."""
    assert (await ringfence("audit", "verify", "--data-dir", tmp_path)).code == 1
    assert (await ringfence("audit", "verify")).code == 2


def _cut_short(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
