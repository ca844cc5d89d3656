"""TCP ports of a node that only the node itself may reach, as text for one `nft -f` transaction: pure.

For a program that listens on every address and lets in whoever connects, as PyTorch's store does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ringfence.certs.errors import Kind, RingfenceError

TABLE = "inet ringfence-closed"
_SET = "ports"


def closed(ports: Iterable[int]) -> str:
    """The transaction after which *ports* are closed and no others; without any the table is gone."""
    removal = f"add table {TABLE}\ndelete table {TABLE}\n"
    listing = ", ".join(map(str, sorted(set(ports))))
    if not listing:
        return removal
    return f"""{removal}table {TABLE} {{
  set {_SET} {{
    type inet_service
    elements = {{ {listing} }}
  }}
  chain in {{
    type filter hook input priority filter; policy accept;
    iifname != "lo" tcp dport @{_SET} counter drop
  }}
}}
"""


def ports_in(listing: str) -> frozenset[int]:
    """The ports that are closed, from `nft -j list table`; raises INVALID."""
    try:
        items = json.loads(listing)["nftables"]
        sets = [item["set"] for item in items if "set" in item and item["set"]["name"] == _SET]
        return frozenset(int(port) for one in sets for port in one.get("elem", []))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RingfenceError(Kind.INVALID, f"nft printed no table: {error!r}", hint="Install nftables 1.0") from None
