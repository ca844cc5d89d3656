"""Forks workloads that wait for a start, open FetchX509SVID on a connection of their own, and say when it answered.

Run as a small program of its own: a child of a large one would cost more than what it measures. It prints one line when
all stand ready, starts them at a line on its input, and prints a JSON array of seconds, null for a failure.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATIENCE = 60.0  # seconds
_DATA, _HEADERS, _SETTINGS, _RST_STREAM, _GOAWAY = 0, 1, 4, 3, 7
_END_STREAM, _END_HEADERS = 1, 4
_RESULT = struct.Struct("d")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


_FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/SpiffeWorkloadAPI/FetchX509SVID",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
    "workload.spiffe.io": "true",
}
_REQUEST = b"".join(
    (
        _PREFACE,
        _frame(_SETTINGS, 0, 0),
        _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(*field) for field in _FIELDS.items())),
        _frame(_DATA, _END_STREAM, 1, bytes(5)),
    )
)


def _answered(path: str) -> bool:
    """Whether the first thing that the stream brings is a message; the connection stays open until the process ends."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_PATIENCE)
    sock.connect(path)
    sock.sendall(_REQUEST)
    held = b""
    while True:
        while len(held) >= 9 and len(held) >= 9 + (size := int.from_bytes(held[:3], "big")):
            if held[3] == _DATA:
                globals()["_kept"] = sock
                return True
            if held[3] in {_RST_STREAM, _GOAWAY} or (held[3] == _HEADERS and held[4] & _END_STREAM):
                return False
            held = held[9 + size :]
        got = sock.recv(65_536)
        if not got:
            return False
        held += got


def _workload(path: str, uid: int, start: int, results: int) -> None:
    if uid >= 0:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.read(start, 1)  # ends when the parent closes its side
    try:
        seconds = time.monotonic() if _answered(path) else -1.0
    except OSError:
        seconds = -1.0
    os.write(results, _RESULT.pack(seconds))
    time.sleep(_PATIENCE)


def main(path: str, count: int, first_uid: int) -> None:
    """*count* workloads, each its own user from *first_uid* on."""
    start_read, start_write = os.pipe()
    results_read, results_write = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            os.close(start_write)
            _workload(path, first_uid + number, start_read, results_write)
            os._exit(0)
        children.append(child)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    os.close(start_write)
    found = [_RESULT.unpack(os.read(results_read, _RESULT.size))[0] for _ in children]
    print(json.dumps([moment - begun if moment > 0 else None for moment in found]), flush=True)
    for child in children:
        os.kill(child, 9)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
