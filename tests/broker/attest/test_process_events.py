"""What the kernel tells of processes, from the kernel itself where it will, and from messages made up here."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.attest.process_events import Event, MessagesLostError, ProcessEvents, parse
from tests import parts

FORK, EXEC, UID, GID, EXIT = 1, 2, 4, 0x40, 0x80000000
AT = 10**15  # ns
BECOMES = """
import os, sys
os.read(0, 1)
os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
os.execv("/bin/cat", ["cat"])
"""
OPENS = """
from ringfence.broker.attest.process_events import ProcessEvents
try:
    ProcessEvents.open()
except OSError as error:
    print(error)
"""


def frame(what: int, process: int, *, idx: int = 1) -> bytes:
    """A message as Linux writes it (linux/cn_proc.h), of thread 1."""
    event = struct.pack("=IIQIIII8x", what, 0, AT, 1, process, 0, 0)
    return struct.pack("=IHHII", 36 + len(event), 3, 0, 0, 0) + struct.pack("=IIIIHH", idx, 1, 0, 0, 40, 0) + event


@pytest.mark.parametrize(("what", "executed"), [(EXEC, True), (UID, False), (GID, False)])
def test_an_event_is_of_the_process_and_not_of_its_thread(what: int, executed: bool) -> None:  # noqa: FBT001  # a parameter
    """Any thread may change the user; whom we know is the process."""
    assert parse(frame(what, 4711)) == Event(4711, executed, AT)


@pytest.mark.parametrize("other", [frame(FORK, 5), frame(EXIT, 5), frame(0, 5), frame(EXEC, 5, idx=2), b"", b"\0" * 40])
def test_other_messages_are_of_no_concern(other: bytes) -> None:
    """Other events, acknowledgements, other connectors, and what was cut short."""
    assert parse(other) is None


@given(st.binary(max_size=120))
def test_no_message_breaks_the_reader(data: bytes) -> None:
    """Whatever the bytes are, it is an event or nothing."""
    assert parse(data) is None or isinstance(parse(data), Event)


class FakeSocket:
    """Gives what the test put in, an exception by raising it; then it would block."""

    def __init__(self, *messages: bytes | OSError, port: int = 0) -> None:
        self.messages = list(messages)
        self.port = port

    def recvfrom(self, _: int) -> tuple[bytes, tuple[int, int]]:
        """As socket.recvfrom of a netlink socket."""
        found = self.messages.pop(0) if self.messages else BlockingIOError()
        if isinstance(found, OSError):
            raise found
        return found, (self.port, 1)


def source(*messages: bytes | OSError, port: int = 0) -> ProcessEvents:
    """An open source that gives these."""
    made: Any = FakeSocket(*messages, port=port)
    return ProcessEvents(made)


def test_lost_messages_are_said_after_those_that_came() -> None:
    """ENOBUFS means that the kernel had no room for some: what is known may be out of date."""
    lost = source(frame(EXEC, 5), OSError(105, "No buffer space available"), frame(EXEC, 6))
    found: list[Event] = []
    with pytest.raises(MessagesLostError):
        found.extend(lost.read())  # a list takes what came before the exception too
    assert found == [Event(5, executed=True, at=AT)]
    assert list(lost.read()) == [Event(6, executed=True, at=AT)]


def test_another_failure_is_the_end() -> None:
    """It is not taken for a loss, after which there would be more."""
    with pytest.raises(OSError, match="bad"):
        list(source(OSError(9, "bad")).read())


def test_only_the_kernel_is_listened_to() -> None:
    """A message of another process (its port is not 0) tells nothing."""
    assert list(source(frame(EXEC, 5), port=77).read()) == []


def test_a_storm_is_read_a_bounded_number_at_a_time() -> None:
    """So that the loop gets to its other work between."""
    stormy = source(*[frame(EXEC, 5)] * 1000)
    assert len(list(stormy.read())) < 1000
    assert len(list(stormy.read())) > 0


@pytest.fixture
def events() -> Iterator[ProcessEvents]:
    """The kernel's."""
    parts.root()
    found = ProcessEvents.open()
    yield found
    found.close()


def test_the_kernel_tells_of_group_user_and_program(events: ProcessEvents) -> None:
    """In that order, as the child does it; its forks and its end are not told."""
    begun, pipe = time.monotonic_ns(), subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BECOMES, "65534"], stdin=pipe, stdout=pipe) as process:
        own = _of(process.pid, events)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"!one\n")
        process.stdin.close()
        assert process.stdout.read() == b"one\n"  # it is cat now
        process.wait()
        own += _of(process.pid, events)
    assert [event.executed for event in own[-3:]] == [False, False, True]
    assert begun < own[-3].at < own[-1].at < time.monotonic_ns()


def test_the_kernel_keeps_the_rest_to_itself(events: ProcessEvents) -> None:
    """Forks and ends, of which a busy node has most, do not even wake the agent."""
    subprocess.run(["/bin/sh", "-c", "(:); (:); exec /bin/true"], check=True)
    told = set()
    with suppress(BlockingIOError):
        while True:
            told.add(struct.unpack_from("=I", events._socket.recv(4096), 36)[0])
    assert EXEC in told
    assert told <= {0, EXEC, UID, GID}


def _of(pid: int, events: ProcessEvents) -> list[Event]:
    found = []
    while more := list(events.read()):
        found += more
    return [event for event in found if event.pid == pid]


@pytest.mark.parametrize(
    ("namespace", "why"), [("--net", "Connection refused"), ("--pid", "initial PID"), ("--user", "initial PID")]
)
def test_where_the_kernel_tells_nothing_it_is_known_at_once(events: ProcessEvents, namespace: str, why: str) -> None:
    """In other namespaces nobody answers, or only what others asked for comes: that is not taken for our own."""
    assert events.fileno() >= 0  # somebody listens, so that there is what could be taken
    unshare = parts.program("unshare", "util-linux")
    done = subprocess.run(
        [unshare, namespace, *(("--fork",) if namespace == "--pid" else ()), sys.executable, "-c", OPENS],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert why in done.stdout


def test_a_closed_source_can_be_read_no_more(events: ProcessEvents) -> None:
    """It gives its file back."""
    other = ProcessEvents.open()
    number = other.fileno()
    other.close()
    assert other.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=number)
    assert events.fileno() >= 0
