"""Envoys of this node and the bytes that each exchanged with its upstreams, by their admin interfaces."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ringfence.broker.run.admin import ask
from ringfence.fabric.leak.counters import upstream_bytes

_NAME = "envoy"
_ROOT = re.compile(r"\A/proc/\d+/root(?=/)")
_CONFIG = ("-c", "--config-path")
_MOST_BYTES = 4 << 20  # of a configuration
_SECONDS = 2.0
_QUESTION = "/stats?filter=upstream_cx_.x_bytes_total"


def admin_interfaces(job: frozenset[int]) -> tuple[str, ...]:
    """Of Envoys with a configuration in JSON that names one: `/PATH` of a socket, or HOST:PORT.

    Those in this network namespace, and those that are processes of the *job*: others' traffic is none of this node's.
    """
    return tuple(dict.fromkeys(found for pid in _pids() if (pid in job or _is_here(pid)) and (found := _admin_of(pid))))


def shown(admin: str) -> str:
    """As the proxy's own configuration has it."""
    return _ROOT.sub("", admin)


def _is_here(pid: int) -> bool:
    try:
        return Path("/proc/self/ns/net").samefile(f"/proc/{pid}/ns/net")
    except OSError:
        return False


def exchanged(admin: str) -> dict[str, int] | None:
    """Bytes both ways by upstream, of the Envoy with that admin interface; None where it does not answer."""
    text = ask(admin, _QUESTION) if admin.startswith("/") else _ask_at(admin)
    return upstream_bytes(text) if text else None


def _ask_at(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=_SECONDS)
    try:
        connection.request("GET", _QUESTION)
        return connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _pids() -> Iterator[int]:
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdecimal() and _read(Path(f"/proc/{name}/comm")).strip() == _NAME:
            yield int(name)


def _admin_of(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/cmdline")).split("\0")
    for option, value in pairwise(words):
        if option in _CONFIG:
            # As that process sees it: it may be in a container.
            return admin_of(_read(Path(f"/proc/{pid}/root{Path('/') / value}")), f"/proc/{pid}/root")
    return ""


def admin_of(text: str, root: str) -> str:
    """The admin interface that a configuration names, with *root* before a path; empty for none."""
    try:
        address: Any = json.loads(text)["admin"]["address"]
        if "pipe" in address:
            return f"{root}{address['pipe']['path']}"
        return f"{address['socket_address']['address']}:{int(address['socket_address']['port_value'])}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_MOST_BYTES)
    except OSError:
        return ""
