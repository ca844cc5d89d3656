"""Text of any origin, read within bounds: lines, numbers, addresses and JSON, and never an error for what is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

MAX_TEXT = 64 * 1024 * 1024  # characters: a verbose log of a node's eight ranks is a tenth of it
MAX_LINE = 4096  # characters: what stands beyond is not looked at
MAX_JSON = 16 * 1024 * 1024
MAX_FACTS = 4096  # of one kind from one text: more of the same says nothing new
MAX_ROWS = 200_000  # of a table of the kernel's: a busy node tracks so many connections

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NUMBER = re.compile(r"[0-9]{1,20}")  # what 64 bits hold
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, from 1; those of Windows lose their carriage return."""
    for number, line in enumerate(text[:MAX_TEXT].split("\n"), 1):
        yield number, line[:MAX_LINE].rstrip("\r")


def whole(text: object) -> int | None:
    """The number that *text* is, not negative, or nothing."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text if text >= 0 else None
    return int(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else None


def decimal(text: object) -> float | None:
    """The number that *text* is, not negative, with or without a fraction, or nothing."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text) if 0 <= text <= float(2**64) else None
    return float(text) if isinstance(text, str) and _DECIMAL.fullmatch(text) else None


def address(text: object) -> Address | None:
    """An IP address without brackets and zone; one of IPv4 that is written as IPv6 is the former."""
    return _address(text) if isinstance(text, str) else None


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """Remembered: tables of thousands of sockets have the same few peers."""
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def network(text: object) -> Network | None:
    """A network, its host bits left out, or nothing."""
    try:
        return ip_network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        return None


def from_json(text: str) -> Any:
    """What the JSON says, or None for what is no JSON, too long or too deep."""
    if len(text) > MAX_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON array, or the one object that stands for itself; at most MAX_FACTS."""
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed[:MAX_FACTS] if isinstance(one, dict)]


def words(value: object) -> str:
    """*value* where it is text, else nothing: a field of JSON may hold anything."""
    return value[:MAX_LINE] if isinstance(value, str) else ""
