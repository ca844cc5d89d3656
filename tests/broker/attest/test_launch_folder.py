"""A cgroup for one launch: made, entered, ended, and never taken from somebody else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.broker.attest import launch_folder, process_trees, procfs
from ringfence.broker.attest.cgroup import CgroupAttestor
from ringfence.broker.attest.launch_folder import LaunchFolder, Mounts, enter, outside
from ringfence.certs.errors import RingfenceError
from ringfence.certs.selectors import Selector
from tests.broker.attest.cgroups import NOWHERE, Doer, cgroup, clear, doer, gone, move, unified
from tests.parts import missing

# Tries to enter process argv[1] from a cgroup namespace that begins at the cgroup in which it is itself.
IN_A_NAMESPACE = """
import ctypes, os, sys
from ringfence.broker.attest import launch_folder, process_trees, procfs
assert ctypes.CDLL(None).unshare(0x02000000) == 0  # CLONE_NEWCGROUP
held = procfs.hold(int(sys.argv[1]), os.geteuid(), os.getegid(), None)
try:
    launch_folder.enter(held, "team-a", "trainer", process_trees.unified_mounts())
except Exception as error:
    print(error)
"""
# Tries the same without root's rights.
AS_NOBODY = """
import os, sys
from ringfence.broker.attest import launch_folder, process_trees, procfs
held = procfs.hold(int(sys.argv[1]), os.geteuid(), os.getegid(), None)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    launch_folder.enter(held, "team-a", "trainer", process_trees.unified_mounts())
except PermissionError as error:
    print("refused", error)
"""
# Says what it sees of its own cgroup from a namespace that begins at it, then waits.
FORGER = """
import ctypes, sys
assert ctypes.CDLL(None).unshare(0x02000000) == 0
print(open("/proc/self/cgroup").read().split("0::")[1].split()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def launcher() -> Iterator[Doer]:
    """A process in our own cgroup that has started nothing yet."""
    home = unified()
    with doer() as running:
        yield running
    for left in home.glob(f"ringfence-launch.*.{running.pid}.*"):
        clear(left)


def _enter(launcher: Doer, mounts: Mounts | None = None) -> LaunchFolder:
    return enter(launcher.held, "team-a", "trainer", process_trees.unified_mounts() if mounts is None else mounts)


def test_a_launcher_enters_and_its_children_inherit(launcher: Doer) -> None:
    """The folder lies below the launcher's own cgroup and says whose it is; children are in it, daemons too."""
    before = process_trees.unified_cgroup(launcher.pid)
    folder = _enter(launcher)
    assert folder.path == f"{before.rstrip('/')}/ringfence-launch.team-a.trainer.{launcher.pid}.{launcher.held.started}"
    assert process_trees.unified_cgroup(launcher.pid) == folder.path
    assert folder.holds(process_trees.unified_cgroup(launcher.start("child")))
    assert folder.holds(process_trees.unified_cgroup(launcher.start("orphan")))
    assert folder.is_there()
    assert launch_folder.is_populated(folder)


def test_the_agent_itself_is_never_moved() -> None:
    """What is in the folder is ended with the launch, so the agent must not be."""
    own = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
    with pytest.raises(RingfenceError, match="the agent's own process"):
        enter(own, "team-a", "trainer", process_trees.unified_mounts())
    assert "ringfence-launch" not in process_trees.unified_cgroup(os.getpid())


def test_a_launcher_with_children_is_not_moved(launcher: Doer) -> None:
    """Its children would stay outside, without the identity that the launcher may vouch for."""
    launcher.start("child")
    before = process_trees.unified_cgroup(launcher.pid)
    with pytest.raises(RingfenceError, match="started processes before it asked"):
        _enter(launcher)
    assert process_trees.unified_cgroup(launcher.pid) == before


def test_who_is_inside_stays_with_its_children(launcher: Doer) -> None:
    """After a restart of the agent the launcher vouches again: the same folder, children and all."""
    folder = _enter(launcher)
    launcher.start("child")
    assert _enter(launcher) == folder


@pytest.mark.parametrize("what", ["owner", "owner of the list", "rights"])
def test_a_folder_of_somebody_else_is_not_used(launcher: Doer, what: str) -> None:
    """Whoever made the folder before us, or may write its list, could put any process into it."""
    leaf = f"ringfence-launch.team-a.trainer.{launcher.pid}.{launcher.held.started}"
    before = process_trees.unified_cgroup(launcher.pid)
    made = unified() / leaf
    made.mkdir()
    if what == "rights":
        (made / "cgroup.procs").chmod(0o664)
    else:
        os.chown(made if what == "owner" else made / "cgroup.procs", 54321, -1)
    with pytest.raises(RingfenceError, match="somebody else's to write"):
        _enter(launcher)
    assert process_trees.unified_cgroup(launcher.pid) == before


def test_a_mount_that_shows_something_else_is_not_used(launcher: Doer, tmp_path: Path) -> None:
    """A mount point hidden by a plain folder, or by another cgroup, holds no launcher; nothing is left in it."""
    before = process_trees.unified_cgroup(launcher.pid)
    with cgroup("other") as other:
        for point in (tmp_path, other):
            with pytest.raises((RingfenceError, OSError)):
                _enter(launcher, (("/", point),))
            assert process_trees.unified_cgroup(launcher.pid) == before
        assert not list(other.glob("ringfence-launch*"))
    assert not list(tmp_path.iterdir())


def test_a_longer_name_is_not_the_folder(launcher: Doer) -> None:
    """A launcher in a folder whose name only begins like its own is not inside."""
    leaf = f"ringfence-launch.team-a.trainer.{launcher.pid}.{launcher.held.started}"
    own, longer = unified() / leaf, unified() / f"{leaf}9"
    own.mkdir()
    longer.mkdir()
    move(launcher.pid, longer)
    with pytest.raises(RingfenceError):
        _enter(launcher)


@pytest.mark.parametrize("mounts", [(), NOWHERE])
def test_without_a_cgroup_v2_it_says_so(launcher: Doer, mounts: Mounts) -> None:
    """No mount, or one that takes no folder: an error that the agent takes to the log, and nothing has changed."""
    with pytest.raises((RingfenceError, OSError)):
        _enter(launcher, mounts)
    assert "ringfence-launch" not in process_trees.unified_cgroup(launcher.pid)


def test_without_the_right_to_a_folder_it_says_so(launcher: Doer) -> None:
    """An agent that is not root, and to which nothing was delegated, leaves the launcher where it is."""
    if os.geteuid() != 0:
        missing("root", "only root can become another user")
    command = [sys.executable, "-c", AS_NOBODY, str(launcher.pid)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("refused")
    assert "ringfence-launch" not in process_trees.unified_cgroup(launcher.pid)


def test_a_launcher_outside_of_our_namespace_is_not_moved(launcher: Doer) -> None:
    """An agent in a cgroup namespace divides none of what lies above it."""
    with cgroup("namespace") as folder:
        command = [sys.executable, "-c", f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')\n{IN_A_NAMESPACE}"]
        told = subprocess.run([*command, str(launcher.pid)], capture_output=True, text=True, check=True).stdout
    assert "no cgroup v2 mount shows /.." in told
    assert "ringfence-launch" not in process_trees.unified_cgroup(launcher.pid)


def test_a_path_forged_in_a_namespace_is_seen_through(launcher: Doer) -> None:
    """A process may see itself at the very path of a launch; we see where it really is."""
    folder = _enter(launcher)
    with cgroup("forged") as forged:
        inner = forged / folder.path.rpartition("/")[2]
        inner.mkdir()
        code = f"open({str(inner / 'cgroup.procs')!r}, 'w').write('0')\n{FORGER}"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "/\n"
            assert not folder.holds(process_trees.unified_cgroup(process.pid))
            process.communicate("")


def test_one_that_got_the_launchers_pid_is_put_back(launcher: Doer) -> None:
    """When the launcher ended while it was moved, whoever has its pid now is no launcher."""
    before = process_trees.unified_cgroup(launcher.pid)
    dead = replace(launcher.held, started=launcher.held.started - 1)
    with pytest.raises(RingfenceError, match="has ended"):
        enter(dead, "team-a", "trainer", process_trees.unified_mounts())
    assert process_trees.unified_cgroup(launcher.pid) == before
    assert not list(unified().glob(f"ringfence-launch.*.{launcher.pid}.*"))


def test_kill_ends_all_that_is_left(launcher: Doer) -> None:
    """A daemon that is deaf to TERM ends too, and the folder can go then."""
    folder = _enter(launcher)
    pidfd = os.pidfd_open(launcher.start("orphan"))
    launcher.end()
    assert launch_folder.signal_all(folder, signal.SIGTERM) == 1
    assert not gone(pidfd, 0.05)
    assert not launch_folder.remove(folder)
    launch_folder.kill(folder)
    assert gone(pidfd)
    os.close(pidfd)
    assert not launch_folder.is_populated(folder)
    assert launch_folder.remove(folder)


def test_without_cgroup_kill_each_process_is_killed(launcher: Doer, tmp_path: Path) -> None:
    """A kernel before 5.14 has no such file; a pid that is listed and somewhere else by now is spared."""
    folder = _enter(launcher)
    child = launcher.start("child")
    with doer() as stranger:
        (tmp_path / "cgroup.procs").write_text(f"{stranger.pid}\n{child}\n")
        pidfds = [os.pidfd_open(stranger.pid), os.pidfd_open(child)]
        launch_folder.kill(LaunchFolder(folder.path, tmp_path, tmp_path.stat().st_ino))
        assert gone(pidfds[1])
        assert not gone(pidfds[0], 0.05)
        for pidfd in pidfds:
            os.close(pidfd)


def test_a_folder_that_was_made_anew_is_left_alone(launcher: Doer) -> None:
    """Whatever stands at its path later is not it: not populated, not killed, not removed."""
    folder = _enter(launcher)
    launcher.end()
    folder.directory.rmdir()
    folder.directory.mkdir()
    with doer() as stranger:
        move(stranger.pid, folder.directory)
        pidfd = os.pidfd_open(stranger.pid)
        assert not folder.is_there()
        assert not launch_folder.is_populated(folder)
        launch_folder.kill(folder)
        assert not gone(pidfd, 0.05)
        os.close(pidfd)
    assert launch_folder.remove(folder)
    assert folder.directory.exists()


def test_remove_takes_what_is_below_with_it(launcher: Doer) -> None:
    """The folders of launches inside of a launch, and what a command made for itself."""
    folder = _enter(launcher)
    (folder.directory / "a" / "b").mkdir(parents=True)
    launcher.end()
    assert launch_folder.remove(folder)
    assert not folder.directory.exists()


def test_the_sweep_takes_empty_folders_of_dead_launchers_only(launcher: Doer) -> None:
    """One whose launcher lives is in use, one with processes in it can't go, and other names are not ours."""
    with cgroup("swept") as folder, doer() as other:
        dead, full, living = (folder / f"ringfence-launch.team-a.{name}" for name in ("a.1.1", "b.1.1", "living"))
        living = living.with_name(f"ringfence-launch.team-a.c.{launcher.pid}.{launcher.held.started}")
        foreign = folder / "a.1.1"
        for each in (dead, full, living, foreign):
            each.mkdir()
        move(other.pid, full)
        assert launch_folder.sweep((("/", folder),)) == 1
        assert [each.exists() for each in (dead, full, living, foreign)] == [False, True, True, True]


def test_a_folder_holds_what_is_at_or_below_it() -> None:
    """Whole names count: a longer name beside it is another cgroup."""
    folder = LaunchFolder("/a/x.1", Path("/a/x.1"), 1)
    assert folder.holds("/a/x.1")
    assert folder.holds("/a/x.1/inner")
    assert not folder.holds("/a/x.12")
    assert not folder.holds("/a")
    assert not folder.holds("/../a/x.1")


def test_the_cgroup_selector_is_that_of_before_the_launch(launcher: Doer) -> None:
    """Entries and launch rules name the cgroup that the launcher was started in."""

    def found() -> frozenset[Selector]:
        return asyncio.run(CgroupAttestor().attest(launcher.held, frozenset({"cgroup:path"})))

    with cgroup("unit") as folder:
        move(launcher.pid, folder)
        before = found()
        assert before
        entered = _enter(launcher)
        assert entered.directory.parent == folder
        assert found() == before
    assert outside("/ringfence-launch.a.b.1.1/c") == "/"
    assert outside("/a/b") == "/a/b"
