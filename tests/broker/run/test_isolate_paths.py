"""What an isolated command does not see, and what of it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.run.isolate_paths import covers, listening, real, shares, suspects
from ringfence.certs.errors import Kind, RingfenceError

TABLE = """\
Num       RefCount Protocol Flags    Type St Inode Path
ffff8880: 00000002 00000000 00010000 0001 01 1001 /run/docker.sock
ffff8881: 00000002 00000000 00010000 0001 01 1002 @abstract
ffff8882: 00000003 00000000 00000000 0001 03 1003
ffff8883: 00000002 00000000 00010000 0001 01 1004 /home/ada/with a space.sock
ffff8884: 00000002 00000000 00010000 0001 01 1005 /run/shared/in.sock
ffff8885: 00000002 00000000 00010000 0001 01 1006 relative.sock
"""


def test_covers_are_real_different_and_not_one_in_another(tmp_path: Path) -> None:
    """A link is followed, what is not there left out, and a folder in a covered one needs no cover."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    (tmp_path / "link").symlink_to("ab")
    names = ("a", "a/b", "ab", "link", "missing")
    found = covers(real(["", *(str(tmp_path / name) for name in names)]))
    assert found == (str(tmp_path / "a"), str(tmp_path / "ab"))


def test_a_folder_beside_the_covers_needs_no_share(tmp_path: Path) -> None:
    """Only what a cover would hide is shown again, and once."""
    for name in ("covered/own/deep", "covered-not"):
        (tmp_path / name).mkdir(parents=True)
    own, deep, beside = (str(tmp_path / name) for name in ("covered/own", "covered/own/deep", "covered-not"))
    assert shares(beside, [deep, own], [str(tmp_path / "covered")]) == (own,)


@pytest.mark.parametrize("name", ["covered", ".", "link", "missing"])
def test_what_would_take_a_cover_away_is_refused(tmp_path: Path, name: str) -> None:
    """The covered folder, one above it, a link to it; and what is not there."""
    (tmp_path / "covered").mkdir()
    (tmp_path / "link").symlink_to("covered")
    with pytest.raises(RingfenceError) as caught:
        shares("/", [str(tmp_path / name)], [str(tmp_path / "covered")])
    assert caught.value.kind is Kind.INVALID


def test_a_share_does_not_show_a_hidden_folder_below_another(tmp_path: Path) -> None:
    """The agent's folder below /tmp, when the command starts in it, or in one above it."""
    agent = tmp_path / "own" / "agent"
    agent.mkdir(parents=True)
    for folder in (agent, agent.parent):
        with pytest.raises(RingfenceError, match="the working folder"):
            shares(str(folder), [], [str(tmp_path), str(agent)])


def test_a_working_folder_that_holds_a_cover_is_no_way_around_it() -> None:
    """Started in / the command sees what there is; only a share of it would show what is covered."""
    assert shares("/", [], ["/run"]) == ()


def test_sockets_are_read_from_the_kernels_table() -> None:
    """Paths with spaces too; abstract, unnamed and relative ones name nothing that could be covered."""
    assert list(listening(TABLE)) == ["/run/docker.sock", "/home/ada/with a space.sock", "/run/shared/in.sock"]


def test_folders_are_searched_where_no_cover_hides_sockets() -> None:
    """Beside the covers, and in what is shown again behind one."""
    found = suspects(TABLE, covered=["/run"], shared=["/run/shared"])
    assert found == ("/home/ada", "/run/shared")
