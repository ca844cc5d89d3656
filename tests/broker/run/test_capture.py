"""Guards of `run --capture` that need no proxy: who may, in which namespace, and that a bad flag is no silent one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from ringfence.broker.run import capture, capture_netns
from ringfence.broker.run.capture import Capture, Wanted, check_leave
from ringfence.broker.run.capture_child import User
from ringfence.broker.run.capture_exclusions import Exclusions
from ringfence.broker.run.capture_netns import found, made, within
from ringfence.broker.run.capture_plan import CapturePlan, removal, ruleset
from ringfence.broker.run.plan import Launch, Who, plan_proxy
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proxy.v1 import proxy_pb2
from tests import parts
from tests.e2e.command import ringfence

ROOT = Path(__file__).parents[3]
DESCRIBED = proxy_pb2.DescribeResponse(spiffe_id="spiffe://example.test/ns/a/sa/b")
PLAN = plan_proxy(
    Who("a", "b"), Launch("s:1", "example.test", "/x"), DESCRIBED, inbound_host="127.0.0.1", socket_dir="/x"
)


@pytest.fixture
def netns() -> Iterator[str]:
    """A namespace as an operator makes it."""
    parts.root()
    ip = parts.program("ip", "iproute2")
    name = f"rf{os.getpid()}n"
    subprocess.run([ip, "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run([ip, "netns", "del", name], check=True)


def test_without_the_capabilities_it_says_which_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(capture, "_effective", lambda: 1 << 12)
    with pytest.raises(RingfenceError, match="CAP_SYS_ADMIN") as caught:
        check_leave()
    assert caught.value.kind is Kind.DENIED
    assert "root" in caught.value.hint
    assert "CAP_NET_ADMIN" not in caught.value.detail


@pytest.mark.parametrize(("gone", "package"), [("nft", "nftables"), ("ip", "iproute2")])
def test_without_a_program_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch, gone: str, package: str) -> None:
    """Not found on PATH, nor where Debian puts it."""
    monkeypatch.setattr(capture, "_effective", lambda: -1)
    monkeypatch.setattr(capture_netns.shutil, "which", lambda name, **_: None if name == gone else name)
    with pytest.raises(RingfenceError, match=f"needs {gone}") as caught:
        check_leave()
    assert package in caught.value.hint


def test_the_namespace_of_the_proxy_is_never_captured() -> None:
    """Everything on the host would lose its network."""
    with pytest.raises(RingfenceError, match="of `ringfence run` itself") as caught:
        found("/proc/self/ns/net")
    assert caught.value.kind is Kind.INVALID


def test_another_kind_of_namespace_or_file_is_refused(tmp_path: Path) -> None:
    """A path that leads to no network namespace."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RingfenceError, match="no network namespace"):
        found(str(file))
    with pytest.raises(RingfenceError, match="no network namespace") as caught:
        found(str(tmp_path / "gone"))
    assert "ip netns add" in caught.value.hint


def test_two_runs_do_not_share_a_namespace(netns: str) -> None:
    """The end of one would take away the rules of the other."""
    first = found(netns)
    with pytest.raises(RingfenceError, match="another `ringfence run`") as caught:
        found(netns)
    assert caught.value.kind is Kind.CONFLICT
    os.close(first)
    os.close(found(netns))


def test_a_new_namespace_is_none_that_is_there() -> None:
    """And this process stays where it is."""
    parts.root()
    before = Path("/proc/self/ns/net").stat().st_ino
    descriptor = made()
    assert os.fstat(descriptor).st_ino != before == Path("/proc/self/ns/net").stat().st_ino
    os.close(descriptor)


def test_a_bad_ruleset_changes_nothing(netns: str) -> None:
    """One transaction: what was enforced before still is."""
    nft = parts.program("nft", "nftables")
    descriptor = found(netns)
    within(descriptor, ((nft, "-f", "-"), ruleset(CapturePlan())))
    with pytest.raises(RingfenceError, match="nft failed"):
        within(descriptor, ((nft, "-f", "-"), removal() + "table inet ringfence { chain x { no such rule } }\n"))
    assert "chain out" in rules(netns)
    os.close(descriptor)


def test_at_the_end_a_found_namespace_is_as_it_was(netns: str) -> None:
    """The table and the route are gone; the namespace lives on."""
    with Capture(Wanted(netns)) as captured:
        captured.apply(PLAN)
        assert "chain out" in rules(netns)
    assert rules(netns) == ""
    done = subprocess.run(["nsenter", f"--net={netns}", "ip", "route"], capture_output=True, text=True, check=True)
    assert done.stdout == ""


_KILLED = """
    import os, signal
    from tests.broker.run.test_capture import PLAN, Capture, Wanted
    with Capture(Wanted("NETNS")) as captured:
        captured.apply(PLAN)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_is_killed_leaves_a_found_namespace_closed(netns: str) -> None:
    """Nobody takes its rules away but the next run, whose own take their place."""
    code = dedent(_KILLED).replace("NETNS", netns)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "hook output priority filter; policy drop;" in rules(netns)
    with Capture(Wanted(netns)) as captured:
        captured.apply(PLAN)
    assert rules(netns) == ""


def test_an_interface_that_is_not_there_is_refused(netns: str) -> None:
    """A misspelt fabric would be captured without a word, and collectives would crawl through the proxy."""
    with (
        Capture(Wanted(netns, Exclusions.parse(["fab1"], []))) as captured,
        pytest.raises(RingfenceError, match=r"--exclude-interface fab1: .* has lo") as caught,
    ):
        captured.apply(PLAN)
    assert caught.value.kind is Kind.NOT_FOUND


_BECOME = """
    import os
    from ringfence.broker.run.capture_child import User, confined
    from ringfence.broker.run.capture_netns import made
    confined(made(), USER)()
    os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""


def becoming(user: str, *before: str) -> dict[str, list[str]]:
    """The lines of /proc/self/status of a program that a confined child has executed."""
    parts.root()
    command = [*before, sys.executable, "-c", dedent(_BECOME).replace("USER", user)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in done.stdout.splitlines())}


def test_capabilities_that_are_inherited_are_taken_too() -> None:
    """Root gets back at exec what is inheritable, whatever the bounding set says (capabilities(7))."""
    setpriv = parts.program("setpriv", "util-linux")
    found = becoming("None", setpriv, "--inh-caps=+net_admin")
    assert {int(found[field][0], 16) for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


def test_a_user_is_one_in_all_of_its_ids() -> None:
    """No saved one to go back to, and no group of root's."""
    found = becoming('User.named("nobody")', parts.program("setpriv", "util-linux"), "--groups=0,4")
    nobody = User.named("nobody")
    assert found["Uid"] == [str(nobody.uid)] * 4
    assert found["Gid"] == [str(nobody.gid)] * 4
    assert set(found["Groups"]) == set(map(str, nobody.groups))


def test_what_cannot_be_confined_does_not_start() -> None:
    """Nothing runs outside for want of a namespace."""
    parts.root()
    code = dedent(_BECOME).replace("made()", "os.open('/dev/null', 0)").replace("USER", "None")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (126, "")
    assert "cannot be confined" in done.stderr


def test_an_unknown_user_is_named() -> None:
    """With where to look."""
    with pytest.raises(RingfenceError, match="--user nobody-here: no such user"):
        User.named("nobody-here")
    assert User.named("0").uid == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--netns", "/run/netns/x"], "go with --capture"),
        (["--exclude-cidr", "10.0.0.0/8"], "go with --capture"),
        (["--user", "nobody"], "go with --capture"),
        (["--capture", "--exclude-interface", "fab0"], "go with --netns"),
        (["--capture", "--proxyless"], "with --proxyless there is none"),
    ],
)
async def test_a_flag_that_would_do_nothing_is_refused(flags: list[str], said: str) -> None:
    """A flag that protects must not be ignored."""
    done = await ringfence("run", "--socket", "/x", "--name", "a", "--namespace", "b", *flags, "--", "true")
    assert done.code == 2
    assert said in done.err


def rules(netns: str) -> str:
    """What nft lists there."""
    nft = parts.program("nft", "nftables")
    done = subprocess.run(
        ["nsenter", f"--net={netns}", nft, "list", "ruleset"], capture_output=True, text=True, check=True
    )
    return done.stdout
