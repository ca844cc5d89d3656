"""Asks several proxies in turn over keep-alive connections with mutual TLS, and says what an answer took of each.

Run as `python -m perf.ask_in_turn PEM PATH ROUNDS REQUESTS PORT...`; prints a JSON list a round: the median of each
port, in microseconds. They take turns request by request, so that whatever else runs here falls on all of them.
"""

from __future__ import annotations

import json
import socket
import ssl
import statistics
import sys
import time


class Connection:
    """One, on which a whole answer ends with `ok`."""

    def __init__(self, port: int, context: ssl.SSLContext, path: str) -> None:
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="mesh")
        self._request = f"GET {path} HTTP/1.1\r\nhost: mesh\r\n\r\n".encode()

    def ask(self) -> float:
        """Microseconds until the answer is there; raises RuntimeError if it is not 200."""
        started = time.perf_counter()
        self._socket.sendall(self._request)
        answer = self._socket.recv(65_536)
        while not answer.endswith(b"\r\n\r\nok"):
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"answered {answer!r}")
            answer += self._socket.recv(65_536)
        return (time.perf_counter() - started) * 1e6


def main(pem: str, path: str, rounds: int, requests: int, ports: list[int]) -> None:
    """Ask, and print."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(pem)
    connections = [Connection(port, context, path) for port in ports]
    for turn in range(rounds + 1):
        times = [[connection.ask() for connection in connections] for _ in range(requests)]
        if turn:  # the first warms all
            print(json.dumps([statistics.median(column) for column in zip(*times, strict=True)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), [int(port) for port in sys.argv[5:]])
