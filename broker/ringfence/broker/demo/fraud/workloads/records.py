"""Takes what is posted to it and keeps it: the sink of decisions, and core banking, whose other paths move money.

Environment: `RINGFENCE_SOCKET_DIR` (its socket is http.sock there), `PATHS` (with spaces between), `RECORDS` (a file of
JSON lines: path, who called as the proxy says it, and the body), `READY_FILE`.
"""

from __future__ import annotations

import json
import os
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ringfence.broker.demo.fraud.workloads.serving import serve

CALLER = "x-forwarded-client-cert"  # set by the own proxy, which lets nobody else set it


class Records:
    """An append-only file; what has an id is kept once, however often it is sent."""

    def __init__(self, file: Path, paths: frozenset[str]) -> None:
        self._file = file
        self._paths = paths
        self._known: set[str] = set()
        self._turn = threading.Lock()

    def answer(self, method: str, path: str, headers: Any, content: Any) -> tuple[int, Any]:
        """201 once it is kept, also when it was before; 404 elsewhere."""
        if method != "POST" or path not in self._paths or not isinstance(content, dict):
            return HTTPStatus.NOT_FOUND, {"error": f"there is no {method} {path}"}
        key = f"{path} {content.get('id')}"
        with self._turn:
            if key not in self._known:
                self._known.add(key)
                kept = {"path": path, "caller": headers.get(CALLER, ""), "body": content}
                with self._file.open("a") as file:
                    file.write(json.dumps(kept) + "\n")
        return HTTPStatus.CREATED, {"kept": content.get("id")}


def main() -> None:
    """Serve until ended."""
    records = Records(Path(os.environ["RECORDS"]), frozenset(os.environ["PATHS"].split()))
    with serve(f"{os.environ['RINGFENCE_SOCKET_DIR']}/http.sock", records.answer) as server:
        Path(os.environ["READY_FILE"]).touch()
        server.serve_forever()


if __name__ == "__main__":
    main()
