"""Where a process stands among others is read as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ringfence.broker.attest import process_trees, procfs
from tests.broker.attest.cgroups import cgroup, doer, move
from tests.parts import missing


def test_ancestors_lead_up_from_the_process() -> None:
    """The chain starts with the process itself and passes its parent, each by pid and start time."""
    with doer() as process:
        chain = process_trees.ancestors(process.pid)
        assert chain[0] == (process.pid, procfs.stat(process.pid).started)
    assert chain[1] == (os.getpid(), procfs.stat(os.getpid()).started)
    assert chain[-1][0] == 1 or procfs.stat(chain[-1][0]).parent == 0


def test_children_are_listed() -> None:
    """Those that it started, not those that left it."""
    with doer() as process:
        assert process_trees.children(process.pid) == ()
        process.start("orphan")
        child = process.start("child")
        assert process_trees.children(process.pid) == (child,)


def test_the_cgroup_of_a_process_is_where_it_is_put() -> None:
    """Read by whoever asks, from its own namespace's root."""
    with cgroup("a:b") as folder, doer() as process:
        move(process.pid, folder)
        assert process_trees.unified_cgroup(process.pid).endswith(f"/{folder.name}")


def test_a_hybrid_mount_is_found_where_it_is(tmp_path: Path) -> None:
    """A cgroup v2 mount may stand anywhere, also at a path with a space, which mountinfo escapes."""
    if os.geteuid() != 0:
        missing("root", "only root can mount")
    point = tmp_path / "a b"
    point.mkdir()
    told = "from ringfence.broker.attest import process_trees; print(process_trees.unified_mounts())"
    script = 'mount -t cgroup2 none "$1" && exec "$2" -c "$3"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(point), sys.executable, told]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert str(("/", point)) in found
