"""Polls keep-alive connections over mutual TLS and says when the status on each changes.

Run as `python -m perf.poll_status PEM PATH PORT...`; a line `INDEX STATUS SECONDS` a change, on the system's monotonic
clock. A process of its own, so that it shares no interpreter with the server that it watches.
"""

from __future__ import annotations

import ssl
import sys
import time
from http.client import HTTPSConnection


def main(pem: str, path: str, ports: list[int]) -> None:
    """Ask one connection after the other, until stdout closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(pem)
    connections = [HTTPSConnection("127.0.0.1", port, context=context) for port in ports]
    seen = [0] * len(ports)
    while True:
        for index, connection in enumerate(connections):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != seen[index]:
                seen[index] = response.status
                print(index, response.status, time.monotonic(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]])
