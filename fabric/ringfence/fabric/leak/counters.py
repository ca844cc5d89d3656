"""Counters as the kernel, nft and Envoy print them; text of any origin, of which nothing is believed but numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ringfence.fabric.doctor.bounded import MAX_FACTS, from_json, lines, objects, whole, words
from ringfence.fabric.doctor.sysfs import WORD, Port
from ringfence.fabric.leak.seen import Count, Filter, Link

_LINK = re.compile(r"\s*(\S{1,64}):\s*([0-9 \t]{1,512})")
_COLUMNS = 10  # up to what is sent: bytes and packets are the first two of eight, and of the next
_UPSTREAM = re.compile(r"cluster\.(.{1,256})\.upstream_cx_[rt]x_bytes_total: ([0-9]{1,20})")
_SETS = re.compile(r"@job[46]/(\S{1,256})")
# Envoy's own conversation with the control plane, which no workload's bytes take (see `ringfence run`).
_CONTROL = frozenset({"ringfence_server", "ringfence_agent"})
_CHAINS = frozenset({"fabric_in", "fabric_out", "in", "out", "across"})


def links(text: str) -> dict[str, Link]:
    """The interfaces of /proc/PID/net/dev, by name."""
    found: dict[str, Link] = {}
    for _, line in lines(text):
        if (read := _LINK.fullmatch(line)) and len(found) < MAX_FACTS:
            cells = [int(cell) for cell in read.group(2).split()]
            if len(cells) >= _COLUMNS:
                found[read.group(1)] = Link(read.group(1), cells[0], cells[8], cells[1], cells[9])
    return found


def grown(before: Mapping[str, Link], after: Mapping[str, Link]) -> tuple[Link, ...]:
    """How each interface grew; one that came meanwhile, or was made anew, grew by all it has."""
    return tuple(_grown(before.get(name), link) for name, link in sorted(after.items()))


def _grown(before: Link | None, after: Link) -> Link:
    if before is None or after.received < before.received or after.sent < before.sent:
        return after
    return Link(
        after.name,
        after.received - before.received,
        after.sent - before.sent,
        max(after.packets_in - before.packets_in, 0),
        max(after.packets_out - before.packets_out, 0),
    )


def filter_of(listing: str) -> Filter | None:
    """The counters of `nft -j list table`, of the table that a fabric has; None where it is none."""
    told = from_json(listing)
    items = objects(told.get("nftables")) if isinstance(told, dict) else []
    rules = [rule for one in items if isinstance(rule := one.get("rule"), dict) and rule.get("chain") in _CHAINS]
    if not rules:
        return None
    jobs: dict[str, defaultdict[str, Count]] = {chain: defaultdict(Count) for chain in ("fabric_in", "fabric_out")}
    refused: defaultdict[str, Count] = defaultdict(Count)
    for rule in rules:
        chain, job, count = words(rule.get("chain")), _job(rule), _count(rule)
        if job and chain in jobs:
            jobs[chain][job] += count
        elif not job:
            refused[chain] += count
    return Filter(
        MappingProxyType(dict(jobs["fabric_in"])),
        MappingProxyType(dict(jobs["fabric_out"])),
        refused["fabric_in"],
        refused["fabric_out"],
        refused["in"] + refused["out"] + refused["across"],
    )


def filter_grown(before: Filter | None, after: Filter | None) -> Filter | None:
    """How it grew; one that was not there before grew by all it has."""
    if after is None or before is None:
        return after
    return Filter(
        _jobs_grown(before.incoming, after.incoming),
        _jobs_grown(before.outgoing, after.outgoing),
        after.refused_in.since(before.refused_in),
        after.refused_out.since(before.refused_out),
        after.astray.since(before.astray),
    )


def _jobs_grown(before: Mapping[str, Count], after: Mapping[str, Count]) -> Mapping[str, Count]:
    return MappingProxyType({job: count.since(before.get(job, Count())) for job, count in after.items()})


def _job(rule: Mapping[str, Any]) -> str:
    for statement in objects(rule.get("expr")):
        match = statement.get("match")
        right = words(match.get("right")) if isinstance(match, dict) else ""
        if found := _SETS.fullmatch(right):
            return found.group(1)
    return ""


def _count(rule: Mapping[str, Any]) -> Count:
    for statement in objects(rule.get("expr")):
        counter = statement.get("counter")
        if isinstance(counter, dict):
            return Count(whole(counter.get("packets")) or 0, whole(counter.get("bytes")) or 0)
    return Count()


def upstream_bytes(stats: str) -> dict[str, int]:
    """Bytes both ways by upstream, of Envoy's `/stats`; without those of the control plane."""
    found: defaultdict[str, int] = defaultdict(int)
    for name, count in _upstreams(stats):
        found[name] += count
    return dict(found)


def _upstreams(stats: str) -> Iterator[tuple[str, int]]:
    for _, line in lines(stats):
        if (read := _UPSTREAM.fullmatch(line)) and read.group(1) not in _CONTROL:
            yield read.group(1), int(read.group(2))


def rdma_bytes(before: tuple[Port, ...], after: tuple[Port, ...]) -> Mapping[str, int]:
    """Bytes both ways of each active port, whose counters have words of four."""
    first = {port.name: _words(port) for port in before}
    return MappingProxyType(
        {port.name: WORD * max(_words(port) - first.get(port.name, 0), 0) for port in after if port.active}
    )


def _words(port: Port) -> int:
    return port.counters.get("port_xmit_data", 0) + port.counters.get("port_rcv_data", 0)
