"""Envoy's admin interface on a Unix socket: is it live, and which listeners does it have?"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError

_SECONDS_A_QUESTION = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
# What each state of `/ready` waits for (admin.v3.ServerInfo.State).
_WAITS = {
    "": "Envoy has not opened its admin socket yet",
    "PRE_INITIALIZING": "its own SVID and the bundle from the agent (SDS)",
    "INITIALIZING": "its listeners and clusters from the server (ADS)",
}


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=_SECONDS_A_QUESTION)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS_A_QUESTION)
        self.sock.connect(self._path)


def ask(admin_socket: str, path: str, method: str = "GET") -> str:
    """The text of an admin page, empty when Envoy does not answer. Blocks: call it in a thread."""
    connection = _Connection(admin_socket)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


async def wait_ready(
    admin_socket: str, expected: Mapping[str, str], exited: asyncio.Future[int], patience: float
) -> None:
    """Return once Envoy is LIVE and listens on every address of *expected* (with what each is for).

    Raises TIMEOUT with what is still missing after *patience* seconds, UNAVAILABLE when Envoy has *exited*.
    """
    waiting, pause = _WAITS[""], _FIRST_PAUSE
    try:
        async with asyncio.timeout(patience):
            while waiting := await asyncio.to_thread(_missing, admin_socket, expected):
                if exited.done():
                    raise RingfenceError(Kind.UNAVAILABLE, f"the proxy ended with code {exited.result()}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        raise RingfenceError(
            Kind.TIMEOUT, f"the proxy is not ready after {patience:g} s; it waits for: {waiting}"
        ) from None


def _missing(admin_socket: str, expected: Mapping[str, str]) -> str:
    """What Envoy still waits for, in words; empty when it is ready."""
    state = ask(admin_socket, "/ready").strip()
    if state != "LIVE":
        return _WAITS.get(state, state)
    there = _listening(ask(admin_socket, "/listeners?format=json"))
    return ", ".join(f"listener {address} ({what})" for address, what in expected.items() if address not in there)


def _listening(text: str) -> frozenset[str]:
    try:
        statuses = json.loads(text or "{}").get("listener_statuses", [])
    except ValueError:
        return frozenset()
    return frozenset(_written(status.get("local_address", {})) for status in statuses)


def _written(address: Mapping[str, Any]) -> str:
    """An address (core.v3.Address) as a plan has it."""
    if "pipe" in address:
        return f"unix:{address['pipe'].get('path')}"
    where = address.get("socket_address", {})
    return f"{where.get('address')}:{where.get('port_value')}"
