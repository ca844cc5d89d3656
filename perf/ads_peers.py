"""Our fleet beside a real go-control-plane, each in a process of its own with the same Go client: what ads_* share.

Without peers (`make bench PEERS=1`) ours is measured alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from perf import spire
from perf.ads_load import raise_file_limit
from perf.figure import figure
from perf.push_1000 import ask, certificates, piped
from perf.stand import rss_kib

SMALL_NODE = 100  # bytes; where memory is not measured
GO_CONTROL_PLANE = "go-control-plane 0.14 in the same run"


@dataclass(frozen=True, slots=True)
class Served:
    """A server with all streams open, and the memory that they took of it."""

    process: subprocess.Popen[str]
    kib_a_stream: float

    def change(self) -> dict[str, float]:
        """CPU (`cpu`) and wall seconds (`wall`) of one change, to the last ACK."""
        return ask(self.process)


def load_client() -> str:
    """The Go client; ends the program where it was not built."""
    path = spire.BIN / "ads-load"
    if not path.exists():
        sys.exit("this figure needs the Go client: run make parts first")
    return str(path)


@contextmanager
def ours(streams: int, folder: Path, *, size: int, kind: str = "equal", node: int = SMALL_NODE) -> Iterator[Served]:
    """Our fleet and lane."""
    command = (sys.executable, "-m", "perf.push_servers", "ours", str(streams), str(folder), str(size), kind)
    with _served(command, streams, folder, node) as served:
        yield served


@contextmanager
def theirs(streams: int, folder: Path, *, size: int, kind: str = "equal", node: int = SMALL_NODE) -> Iterator[Served]:
    """A go-control-plane."""
    command = (str(spire.BIN / "go-control-plane"), kind, str(size), str(streams), str(folder))
    with _served(command, streams, folder, node) as served:
        yield served


@contextmanager
def _served(command: Sequence[str], streams: int, folder: Path, node: int) -> Iterator[Served]:
    with piped(*command) as server:
        port = line(server)
        before = rss_kib(server.pid)
        with piped(load_client(), "sotw", port, str(streams), str(folder), str(node)) as client:
            if line(client) != "ready":
                raise RuntimeError("the streams did not connect")
            ask(server, "settle")  # what a connection needs for a moment only is not what a stream holds
            yield Served(server, (rss_kib(server.pid) - before) / streams)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a child prints."""
    if process.stdout is None:
        raise RuntimeError("no pipe")
    return process.stdout.readline().strip()


def pushes(streams: int, runs: int, *, size: int, kind: str = "equal") -> list[tuple[dict[str, float], ...]]:
    """What changes took, ours and theirs in turn; ours alone without peers."""
    raise_file_limit()
    with TemporaryDirectory() as name, ExitStack() as stack:
        certificates(Path(name))
        sides = [ours, theirs] if spire.wanted() else [ours]
        up = [stack.enter_context(side(streams, Path(name), size=size, kind=kind)) for side in sides]
        for served in up:
            served.change()  # warms it
        return [tuple(served.change() for served in up) for _ in range(runs)]


def beside(
    name: str, what: str, runs: Sequence[Sequence[float]], *, unit: str, goal: float, value: Callable[[Any], float]
) -> dict[str, Any]:
    """A figure whose limit is go-control-plane's, where that was measured; *runs* are of ours, and of theirs."""
    columns = list(zip(*runs, strict=True))
    peer = len(columns) > 1
    ratio = value([mine / theirs for mine, theirs in runs]) if peer else None
    return figure(
        name,
        what + ("; ratio: ours over the limit" if peer else "; PEERS=1 measures the peer"),
        value(columns[0]),
        unit=unit,
        runs=columns[0],
        limit=(GO_CONTROL_PLANE, value(columns[1])) if peer else None,
        ratio=ratio,
        goal=f"<= {goal}x",
        met=ratio is not None and ratio <= goal,
    )
