"""`ringfence run --capture` in a namespace with a fabric and a way out: the one is left alone, the other is no way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import parts
from tests.e2e.captured import Captured, Refused, Wires, departed, everybodys_python, wires
from tests.e2e.stack import Stack, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("capture-fabric")]

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: rank, namespace: team-a}
spec: {launch: {by: [{unix.uid: 0}]}, serves: [{name: http, port: SERVED, protocol: http}]}
---
kind: Workload
metadata: {name: other, namespace: team-a}
spec: {launch: {by: [{unix.uid: 0}]}}
---
kind: Allow
metadata: {name: rank, namespace: team-a}
spec:
  from: [{workload: other}]
  to: [{workload: rank, port: http}]
  owner: o
  reason: r
"""
NOBODY = 65534
COLLECTIVE = 29400  # what a rank listens on for its peers; inside namespaces that are the test's alone
FORBIDDEN = "169.254.169.254"  # which the fabric's own wire would lead to


class Bench:
    """A rank in a job's namespace, with the world at the other end of its fabric and of its way out."""

    def __init__(self, stack: Stack, wired: Wires, served: int) -> None:
        self.stack, self.wires, self.served = stack, wired, served
        wired.echo(COLLECTIVE)
        self.before = wired.dials(wired.job, f"{wired.OUT}.1", COLLECTIVE)
        flags = ("--netns", wired.path, "--exclude-interface", "fab0", "--user", "nobody")
        self.rank = Captured(stack, "team-a/rank", *flags, python=everybodys_python())


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Started once for all tests of this module."""
    parts.root()
    parts.program("nft", "nftables")
    served = free_port()
    text = INTENT.replace("SERVED", str(served))
    # pytest's own folders are closed to other users.
    with TemporaryDirectory(prefix="rf-") as folder, wires() as wired:
        Path(folder).chmod(0o755)
        with running_stack(Path(folder), text) as stack:
            yield Bench(stack, wired, served)


def test_the_fabric_is_untouched(bench: Bench) -> None:
    """A peer there sees the rank's own address, and no proxy's."""
    assert bench.rank.do("tcp", f"{Wires.FABRIC}.1", COLLECTIVE) == f"{Wires.FABRIC}.2"
    assert bench.rank.do("udp", f"{Wires.FABRIC}.1", COLLECTIVE) == 1


def test_the_way_out_is_none(bench: Bench) -> None:
    """It was one before: what is refused is what could be reached."""
    assert bench.before == f"{Wires.OUT}.2"
    with pytest.raises(Refused, match="ConnectionResetError"):
        bench.rank.do("tcp", f"{Wires.OUT}.1", COLLECTIVE)
    with pytest.raises(Refused, match="PermissionError"):
        bench.rank.do("udp", f"{Wires.OUT}.1", COLLECTIVE)
    assert departed(bench.stack, f"{Wires.OUT}.1:{COLLECTIVE}")["rule"] == "default-deny"


def test_the_fabric_is_no_way_to_a_metadata_service(bench: Bench) -> None:
    """Though its wire leads there, and everything else on that wire is left alone."""
    with pytest.raises(Refused, match="ConnectionResetError"):
        bench.rank.do("tcp", FORBIDDEN, COLLECTIVE)
    assert departed(bench.stack, f"{FORBIDDEN}:{COLLECTIVE}")["rule"] == "forbidden-address"
    with pytest.raises(Refused, match="PermissionError"):
        bench.rank.do("udp", FORBIDDEN, COLLECTIVE)


def test_from_the_fabric_only_served_ports_are_closed(bench: Bench) -> None:
    """A peer reaches what the rank opens for it; what the mesh may call is called through the proxy."""
    for port in (COLLECTIVE + 1, 0):
        opened = bench.rank.do("serve", "0.0.0.0", port)
        assert bench.wires.inside(bench.wires.world, *connect(f"{Wires.FABRIC}.2", opened)).returncode == 0
    assert bench.rank.do("http", "127.0.0.1", bench.served)[0] == 200
    refused = bench.wires.inside(bench.wires.world, *connect(f"{Wires.FABRIC}.2", bench.served, seconds=1))
    assert "TimeoutError" in refused.stderr
    refused = bench.wires.inside(bench.wires.world, *connect(f"{Wires.OUT}.2", opened, seconds=1))
    assert "TimeoutError" in refused.stderr


def test_the_command_is_the_user_that_was_named(bench: Bench) -> None:
    """It may write where its sockets are, and sees nothing else of the run's folder."""
    folder = bench.rank.do("environment", "RINGFENCE_SOCKET_DIR")
    assert bench.rank.do("write", f"{folder}/x") == NOBODY
    for private in ("envoy.json", "admin.sock", "y"):
        with pytest.raises(Refused, match="PermissionError"):
            bench.rank.do("write", f"{folder}/../{private}")


def connect(host: str, port: int, seconds: float = 20) -> tuple[str, ...]:
    """A command that connects there, or ends with a traceback."""
    return sys.executable, "-c", f"import socket; socket.create_connection(({host!r}, {port}), {seconds})"
