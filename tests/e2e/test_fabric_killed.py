"""An agent that is killed between any two steps: the next one has the node hold what is wanted, and can undo it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests import parts

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("fabric-killed")]

# In the place of nft and ip: kills who called it at one call, and is the real one at all others.
KILLER = """\
#!/bin/sh
calls=$(($(cat {folder}/calls) + 1))
echo $calls > {folder}/calls
if [ $calls = $(cat {folder}/last) ]; then kill -9 $PPID; exit 1; fi
exec {program} "$@"
"""
# In a network namespace of its own, with /sys of that.
SCENE = """
    import os, subprocess, sys
    from pathlib import Path
    from ringfence.broker.agent.fabrics.holding import Holding
    from ringfence.broker.fabric.apply import remove
    from tests.fabric.plans import rail
    folder, path = Path(sys.argv[1]), os.environ["PATH"]
    jobs = {"team-a/llama": {"10.91.0.1": 4_000_000_000, "10.91.0.2": 4_000_000_000}, "team-a/other": {}}
    def run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    def state():
        settings = "cd /proc/sys/net/ipv4/conf && grep . */arp_ignore */arp_announce */rp_filter"
        shown = [run("nft", "-s", "list", "ruleset"), run("sh", "-c", settings)]
        for version in ("-4", "-6"):
            shown += [run("ip", version, "rule"), run("ip", version, "route", "show", "table", "all")]
        return [line for text in shown for line in text.splitlines() if "proto kernel" not in line]
    def settle():
        held = Holding().settle(rail(), jobs, 3_999_999_000.0)
        assert held.error is None, held.error
    def killed_at(call, action):
        (folder / "calls").write_text("0")
        (folder / "last").write_text(str(call))
        child = os.fork()
        if not child:
            os.environ["PATH"] = f"{folder}:{path}"
            action()
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    for command in ("link set lo up", "link add fab0 type veth peer name peer0", "link set fab0 up",
                    "link set peer0 up", "address add 10.91.0.1/24 dev fab0", "address add fd91::1/64 dev fab0 nodad",
                    "route add 10.91.8.0/24 via 10.91.0.254 dev fab0"):
        run("ip", *command.split())
    before = state()
    settle()
    wanted = state()
    assert remove("team-a/fab") and state() == before and wanted != before
    calls = 1
    while killed_at(calls, settle):
        settle()
        assert state() == wanted, calls
        remove("team-a/fab")
        assert state() == before, calls
        calls += 1
    print(calls - 1)
    calls = 1
    while killed_at(calls, lambda: remove("team-a/fab")):
        remove("team-a/fab")
        assert state() == before, calls
        settle()
        calls += 1
    print(calls - 1)
"""


def test_the_next_one_puts_right_what_a_killed_one_left(tmp_path: Path) -> None:
    """Whichever call of a tool was its last, in applying a fabric and in removing one."""
    parts.root()
    unshare = parts.program("unshare", "util-linux")
    for name, package in (("nft", "nftables"), ("ip", "iproute2")):
        (tmp_path / name).write_text(KILLER.format(folder=tmp_path, program=parts.program(name, package)))
        (tmp_path / name).chmod(0o755)
    scene = f'mount -t sysfs sysfs /sys && exec {sys.executable} -c "$1" {tmp_path}'
    command = [unshare, "-n", "-m", "sh", "-ec", scene, "sh", dedent(SCENE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    applying, removing = map(int, done.stdout.split())
    assert applying > 10
    assert removing > 5
