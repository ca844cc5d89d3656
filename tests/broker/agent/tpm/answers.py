"""A TPM that answers what a test says, on a socket, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.certs.tpm.reader import number


@dataclass(slots=True)
class Scripted:
    """One."""

    path: Path
    asked: list[bytes] = field(default_factory=list)

    @property
    def tcti(self) -> str:
        """Where it is."""
        return f"swtpm:path={self.path}"

    @property
    def codes(self) -> list[int]:
        """Of the commands, in order."""
        return [int.from_bytes(command[6:10]) for command in self.asked]


def done(parameters: bytes = b"", handle: int | None = None, *, sessions: bool = True) -> bytes:
    """A good answer."""
    body = b"" if handle is None else number(handle, 4)
    body += number(len(parameters), 4) + parameters + b"\x00\x00\x01\x00\x00" if sessions else parameters
    return number(0x8002 if sessions else 0x8001, 2) + number(10 + len(body), 4) + number(0, 4) + body


def refused(code: int) -> bytes:
    """An answer that is none."""
    return number(0x8001, 2) + number(10, 4) + number(code, 4)


@contextmanager
def answering(folder: Path, answers: Sequence[bytes]) -> Iterator[Scripted]:
    """It gives *answers* in that order, and closes the connection after the last."""
    tpm = Scripted(folder / "tpm")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tpm.path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, tpm, answers))
        thread.start()
        try:
            yield tpm
        finally:
            thread.join()


def _serve(listener: socket.socket, tpm: Scripted, answers: Sequence[bytes]) -> None:
    connected, _ = listener.accept()
    with connected, connected.makefile("rb") as commands:
        for answer in answers:
            header = commands.read(10)
            if not header:
                return
            tpm.asked.append(header + commands.read(int.from_bytes(header[2:6]) - 10))
            connected.sendall(answer)
