"""A stranger on the fabric: dials addresses all at once, says a word to whoever answers, and tells what came of each.

Arguments: HOST:PORT of each. Prints JSON: address to what happened, `connected` or the name of the error.
"""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 1.5  # for what is dropped without a word


def dial(address: str) -> str:
    """What came of it."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), SECONDS):
            return "connected"
    except OSError as error:
        return type(error).__name__


def main() -> None:
    """Every address once."""
    addresses = sys.argv[1:]
    with ThreadPoolExecutor(max(len(addresses), 1)) as pool:
        found = dict(zip(addresses, pool.map(dial, addresses), strict=True))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
