"""Ports are found by what the kernel says, not by what anybody declares."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from ringfence.broker.demo.fraud.ports import EGRESS, UPSTREAM, given, listening


def test_a_listening_port_is_found_and_a_connected_one_is_not() -> None:
    """Of this process alone: a process that does not hold the socket has none of it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        found = listening([os.getpid()])

        assert server.getsockname()[1] in found
        assert client.getsockname()[1] not in found
        assert listening([]) == frozenset()


def test_what_a_workload_was_given_is_read_from_its_environment() -> None:
    """Upstreams and the way out, each by its variable; a process that is gone was given nothing."""
    env = {f"{UPSTREAM}CORE_HTTP": "127.0.0.1:7001", EGRESS: "http://127.0.0.1:7002", "PORT": "7003"}
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert given([process.pid], UPSTREAM) == {7001}
        assert given([process.pid], EGRESS) == {7002}
        process.communicate()
    assert given([process.pid], UPSTREAM) == frozenset()
