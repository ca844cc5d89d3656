"""What a process was started with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ringfence.broker.fabric.started import environment
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.fabric.ranks import running


def test_a_process_shows_what_it_was_started_with() -> None:
    """Values with `=` and with bytes that are no text among them."""
    given = {"NCCL_SOCKET_IFNAME": "=fab0,fab1", "ODD": os.fsdecode(b"\xff"), "EMPTY": ""}
    with running(given) as pid:
        assert environment(pid) == given


def test_a_process_that_is_not_there_is_an_error() -> None:
    """Nothing is found missing in an environment that nobody has."""
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    with pytest.raises(RingfenceError, match=f"process {ended.pid} is not there") as error:
        environment(ended.pid)
    assert error.value.kind is Kind.NOT_FOUND


def test_a_process_of_somebody_else_is_an_error_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows an environment to its own user and to root alone; a test may be root."""

    def refused(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(RingfenceError, match="as that user or as root") as error:
        environment(1)
    assert error.value.kind is Kind.DENIED


def test_a_process_that_nobody_waited_for_is_not_there_either() -> None:
    """A zombie has a number and no environment."""
    with subprocess.Popen(["/bin/true"], stdout=subprocess.PIPE) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(RingfenceError, match="has ended"):
            environment(ended.pid)
