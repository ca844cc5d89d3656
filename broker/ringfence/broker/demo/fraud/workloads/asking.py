"""An HTTP connection a thread to one upstream, kept open; opened anew when the other side had closed it meanwhile."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

TIMEOUT = 15.0


class Asking:
    """Sends JSON and gives status and JSON; raises OSError or HTTPException when there is no answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._local = threading.local()

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """One request; sent once more where a kept connection turns out to be closed, for requests carry their id."""
        reused = getattr(self._local, "connection", None) is not None
        try:
            return self._ask(method, path, content)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not reused:
                raise
        return self._ask(method, path, content)

    def close(self) -> None:
        """Let this thread's connection go."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def _ask(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        connection = getattr(self._local, "connection", None) or http.client.HTTPConnection(
            self._address, timeout=TIMEOUT
        )
        self._local.connection = connection
        try:
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            connection.close()
            raise
        if response.will_close:
            self._local.connection = None
        return response.status, _json(text)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")
