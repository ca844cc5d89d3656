"""Telling the program: the command, the signal, and who never gets one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.broker.svidfiles.notify import Hook, tell_systemd
from ringfence.certs.errors import Kind, RingfenceError
from tests import parts
from tests.broker.svidfiles.harness import until

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that a signal ends."""
    with subprocess.Popen([SLEEP, "60"]) as started:
        yield started
        started.kill()


async def test_the_command_learns_what_changed(tmp_path: Path) -> None:
    """It runs without a shell, with the folder and the names in its environment."""
    code = "import os, pathlib; pathlib.Path('out').write_text(os.environ['RINGFENCE_SVID_CHANGED'])"
    hook = Hook(command=(sys.executable, "-c", f"import os; os.chdir(os.environ['RINGFENCE_SVID_DIR']); {code}"))
    await hook.run(tmp_path, ["key.pem", "svid.pem"])
    assert (tmp_path / "out").read_text() == "key.pem svid.pem"


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (("/no/such/command",), Kind.UNAVAILABLE, "No such file"),
        ((sys.executable, "-c", "raise SystemExit(7)"), Kind.UNAVAILABLE, "ended with 7"),
        ((SLEEP, "60"), Kind.TIMEOUT, "longer than 0.2 s"),
    ],
)
async def test_a_command_that_fails_is_named(tmp_path: Path, command: tuple[str, ...], kind: Kind, words: str) -> None:
    """One that is too slow is ended."""
    hook = Hook(command=command, patience=0.2 if command[0] == SLEEP else 60)
    with pytest.raises(RingfenceError, match=words, check=lambda error: error.kind is kind):
        await hook.run(tmp_path, [])


async def test_a_command_ends_with_the_writer(tmp_path: Path) -> None:
    """Told to end in the middle of it, nothing is left running."""
    file = tmp_path / "pid"
    code = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid()) + chr(10)); time.sleep(60)"
    task = asyncio.create_task(Hook(command=(sys.executable, "-c", code)).run(tmp_path, []))
    pid = int(await until(lambda: file.read_text().endswith("\n") and file.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_process_in_the_file_gets_the_signal(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """The first line counts, as in postmaster.pid."""
    file = tmp_path / "pid"
    file.write_text(f"{child.pid}\n/data\n")
    await Hook(signal="USR1", pid_file=file).run(tmp_path, [])
    assert child.wait() == -signal.SIGUSR1


@pytest.mark.parametrize("line", ["0", "-1", "1", "", "x", "12 13"])
async def test_no_group_and_no_init_is_signalled(tmp_path: Path, line: str) -> None:
    """A pid file with anything but one process's number is refused."""
    file = tmp_path / "pid"
    file.write_text(line)
    with pytest.raises(RingfenceError, match="no process number", check=lambda error: error.kind is Kind.DENIED):
        await Hook(signal="HUP", pid_file=file).run(tmp_path, [])


async def test_a_pid_file_that_others_may_write_is_refused(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """They would choose whom we signal."""
    file = tmp_path / "pid"
    file.write_text(str(child.pid))
    file.chmod(0o646)
    with pytest.raises(RingfenceError, match="others may write", check=lambda error: error.kind is Kind.DENIED):
        await Hook(signal="USR1", pid_file=file).run(tmp_path, [])
    assert child.poll() is None


async def test_a_user_may_not_name_another_users_process(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """A pid file of user 12345 cannot make root signal root's processes."""
    parts.root()
    file = tmp_path / "pid"
    file.write_text(str(child.pid))
    os.chown(file, 12345, -1)
    with pytest.raises(RingfenceError, match="another user's"):
        await Hook(signal="USR1", pid_file=file).run(tmp_path, [])
    assert child.poll() is None


async def test_a_process_that_is_gone_is_said_to_be(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """And so is a file that is not there."""
    child.kill()
    child.wait()
    file = tmp_path / "pid"
    file.write_text(str(child.pid))
    for path, words in ((file, "is gone"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(RingfenceError, match=words):
            await Hook(signal="USR1", pid_file=path).run(tmp_path, [])


def test_the_topmost_process_of_a_name_gets_the_signal(tmp_path: Path) -> None:
    """Its children of the same name do not; nobody of that name is an error."""
    program = tmp_path / f"rf{os.getpid()}"
    program.symlink_to(sys.executable)
    said = "import os, subprocess, sys, time; print(os.getpid(), flush=True)"
    inner = [str(program), "-c", f"{said}; time.sleep(60)"]
    outer = [str(program), "-c", f"{said}; subprocess.call(sys.argv[1:])", *inner]
    with subprocess.Popen(outer, stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        assert int(top.stdout.readline()) == top.pid
        below = int(top.stdout.readline())
        asyncio.run(Hook(signal="TERM", process=program.name).run(tmp_path, []))
        assert top.wait() == -signal.SIGTERM
        assert Path(f"/proc/{below}/comm").read_text().strip() == program.name
        os.kill(below, signal.SIGKILL)
    with pytest.raises(RingfenceError, match="no such process"):
        asyncio.run(Hook(signal="TERM", process="rf-nobody").run(tmp_path, []))


@pytest.mark.parametrize(
    "fields", [{"signal": "HUP"}, {"process": "x"}, {"signal": "HUP", "process": "x", "pid_file": Path("p")}]
)
def test_a_signal_has_one_receiver(fields: dict[str, str]) -> None:
    """Neither none nor two."""
    with pytest.raises(RingfenceError, check=lambda error: error.kind is Kind.INVALID):
        Hook(**fields)  # type: ignore[arg-type]


async def test_nothing_to_tell_is_fine(tmp_path: Path) -> None:
    """No command, no signal."""
    await Hook().run(tmp_path, [])


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    """By path or by abstract name; an empty or a dead address is no failure."""
    name = f"rf-{os.getpid()}" if abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        tell_systemd("READY=1")
        assert listener.recv(99) == b"READY=1"
    for address in ("", str(tmp_path / "none")):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        tell_systemd("READY=1")
