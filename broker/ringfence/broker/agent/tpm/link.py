"""The way to a TPM, by the names that TPM software gives them: a device of the kernel, or a software TPM's socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ringfence.certs.errors import Kind, RingfenceError

_LARGEST = 4096  # bytes of an answer, which a device gives at once
_HEADER = 10  # bytes: tag, size, code
_PATIENCE = 60.0  # seconds for an answer of a software TPM


class Link(Protocol):
    """One command at a time."""

    def exchange(self, command: bytes) -> bytes:
        """The answer to *command*; raises OSError."""
        ...


class _Device:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def exchange(self, command: bytes) -> bytes:
        os.write(self._descriptor, command)
        return os.read(self._descriptor, _LARGEST)


class _Socket:
    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected

    def exchange(self, command: bytes) -> bytes:
        self._connected.sendall(command)
        header = self._receive(_HEADER)
        return header + self._receive(min(int.from_bytes(header[2:6]), _LARGEST) - _HEADER)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._connected.recv(size - len(data))
            if not piece:
                raise ConnectionResetError("it closed the connection")
            data += piece
        return data


@contextmanager
def link(tcti: str) -> Iterator[Link]:
    """A link to the TPM that *tcti* names, closed at the end; raises INVALID where there is none."""
    kind, _, options = tcti.partition(":")
    try:
        if kind == "device" and options:
            descriptor = os.open(options, os.O_RDWR | os.O_CLOEXEC)
            try:
                yield _Device(descriptor)
            finally:
                os.close(descriptor)
        elif kind == "swtpm" and options.startswith("path="):
            with socket.socket(socket.AF_UNIX) as connected:
                connected.settimeout(_PATIENCE)
                connected.connect(options.removeprefix("path="))
                yield _Socket(connected)
        else:
            raise RingfenceError(
                Kind.INVALID, f"{tcti!r} names no TPM", hint="Write --tpm-tcti device:PATH or swtpm:path=SOCKET"
            )
    except OSError as error:
        raise RingfenceError(
            Kind.INVALID,
            f"the TPM can't be reached: {error.strerror or error}",
            where=tcti,
            hint="Check --tpm-tcti, and that the agent's user may open it",
        ) from error
