"""The ranks of one node of a job, as forks that meet as PyTorch's do: at rank 0's store, then on the fabric.

Environment: RANK of the node, MASTER_ADDR and MASTER_PORT of the store, FABRIC_HOST where rank 0 is on the fabric, and
SAID, a file that gets the monotonic time at which the last rank of this node was ready to compute.
"""

from __future__ import annotations

import os
import socket
import sys
import time

NODES, LOCAL = 2, 8
FABRIC_PORT = 50001
_PATIENCE = 60.0  # seconds


def _host() -> None:
    """Rank 0: lets all go once all are there, and then says a word on the fabric to one rank of each other node."""
    everywhere, fabric = ("0.0.0.0", int(os.environ["MASTER_PORT"])), (os.environ["FABRIC_HOST"], FABRIC_PORT)  # noqa: S104
    with socket.create_server(everywhere) as store, socket.create_server(fabric) as data:
        there = [store.accept()[0] for _ in range(NODES * LOCAL - 1)]
        for one in there:
            one.sendall(b"g")
        for _ in range(NODES - 1):
            data.accept()[0].sendall(b"d")


def _word(host: str, port: int) -> None:
    """A byte from there, dialled again until somebody listens, as PyTorch does."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, port), _PATIENCE) as line:
                line.sendall(b"?")  # who dials speaks first, as PyTorch does
                if line.recv(1):
                    return
        except ConnectionError:
            pass
        time.sleep(0.01)
    raise SystemExit(f"nobody at {host}:{port}")


def _rank(number: int) -> None:
    if number == 0:
        _host()
        return
    _word(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    if number % LOCAL == 0:
        _word(os.environ["FABRIC_HOST"], FABRIC_PORT)


def main() -> None:
    """All ranks of the node; ends with 1 when one failed."""
    pids = []
    for local in range(LOCAL):
        pid = os.fork()
        if not pid:
            _rank(int(os.environ["RANK"]) * LOCAL + local)
            os._exit(0)
        pids.append(pid)
    failed = any(os.waitpid(pid, 0)[1] for pid in pids)
    with open(os.environ["SAID"], "w", encoding="ascii") as said:  # noqa: PTH123  # imports as little as it can
        said.write(repr(time.monotonic()))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
