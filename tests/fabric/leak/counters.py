"""Counters as the kernel, nft and Envoy print them."""

from __future__ import annotations

import json

DEV = """Inter-|   Receive                       |  Transmit
 face |bytes    packets errs drop fifo ... |bytes    packets errs ...
    lo:     100       2 0 0 0 0 0 0      100       2 0 0 0 0 0 0
  fab0:5000000     700 0 0 0 0 0 0  4000000     600 0 0 0 0 0 0
"""
STATS = (
    "cluster.outbound/store.team-a/tcp.upstream_cx_rx_bytes_total: 7\n"
    "cluster.outbound/store.team-a/tcp.upstream_cx_tx_bytes_total: 5\n"
    "cluster.ringfence_server.upstream_cx_rx_bytes_total: 70000\n"
    "cluster.ringfence_agent.upstream_cx_tx_bytes_total: 70000\n"
    "cluster.x.upstream_cx_total: 9\n"
)
ENVOY = '{"admin": {"address": {"pipe": {"path": "/run/x/admin.sock"}}}}'


def rule(chain: str, verdict: str, packets: int, count: int, job: str = "") -> dict[str, object]:
    """A rule of the fabric's table, with its counter."""
    match = {"match": {"op": "==", "left": {"payload": {}}, "right": f"@job4/{job}"}}
    expression = [*([match, match] if job else []), {"counter": {"packets": packets, "bytes": count}}, {verdict: None}]
    return {"rule": {"family": "inet", "chain": chain, "expr": expression}}


def listing(scale: int) -> str:
    """A table whose counters are multiples of *scale*."""
    rules = [
        rule("fabric_in", "jump", 2 * scale, 200 * scale, "team-a/llama"),
        rule("fabric_in", "jump", 0, 0, "team-b/x"),
        rule("fabric_in", "drop", 3 * scale, 300 * scale),
        rule("fabric_out", "jump", 5 * scale, 500 * scale, "team-a/llama"),
        rule("fabric_out", "reject", scale, 60 * scale),
        rule("in", "drop", scale, 40 * scale),
        rule("across", "drop", scale, 40 * scale),
        rule("members", "accept", 99, 99),
    ]
    return json.dumps({"nftables": [{"metainfo": {}}, *rules]})
