"""What befalls the bank: its zone is lost, and its control plane is away; each measured while customers pay."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ringfence.broker.demo.fraud.stage import CUSTOMERS, FAR, NEAR, TTL, FraudStage
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client

SETTLE = 2.0  # seconds of payments before and after an act
AWAY = 0.53 * TTL  # more than half of an SVID's life, so that every one of them was due for renewal
BACK_WITHIN = RENEWED_WITHIN = 30.0
WORKLOADS = 6  # with a scorer on each of two nodes


async def zone_loss(stage: FraudStage) -> dict[str, Any]:
    """Kill every process of the zone that scores everything, and start it again."""
    await _scored_in(stage, NEAR.zone, BACK_WITHIN, alone=True)
    await asyncio.sleep(SETTLE)
    before = await stage.customers.ask("report")
    at = await stage.lose(NEAR)
    await asyncio.sleep(2 * SETTLE)
    after = await stage.customers.ask("report", since=at)
    began = time.monotonic()
    await stage.bring_back(NEAR)
    started = time.monotonic()
    back = await _scored_in(stage, NEAR.zone, BACK_WITHIN)
    carried = set(before["zones"]) == {NEAR.zone} and set(after["zones"]) <= {NEAR.zone, FAR.zone}
    in_flight = after["failed"] - after["failed_after"]
    return {
        "zone": NEAR.zone,
        "before": before,
        "after": after,
        "in_flight_failed": in_flight,
        "started_s": round(started - began, 2),
        "back": back,
        "back_s": round(time.monotonic() - began, 2),
        "ok": carried
        and before["failed"] == after["failed_after"] == 0
        and in_flight <= CUSTOMERS
        and after["zones"].get(FAR.zone, 0) > 0
        and back["failed"] == 0,
    }


async def control_plane_away(stage: FraudStage, admin: Client) -> dict[str, Any]:
    """Kill the server for more than half of an SVID's life; all SVIDs are new when it goes."""
    await _renew(admin)
    await stage.customers.ask("report")
    await stage.children.kill("server")
    gone = time.monotonic()
    await asyncio.sleep(AWAY)
    await stage.start_server()
    away = time.monotonic() - gone
    await asyncio.sleep(SETTLE)
    report = await stage.customers.ask("report")
    ok = report["failed"] == 0 and report["sent"] > 0 and away > TTL / 2
    return {**report, "away_s": round(away, 2), "ttl_s": TTL, "ok": ok}


async def _renew(admin: Client) -> None:
    """New SVIDs for every workload on its node; raises TIMEOUT. The ledger knows times in whole seconds."""
    from ringfence.admin.v1 import admin_pb2

    since = int(time.time()) + 1
    await asyncio.sleep(since - time.time())
    await admin.Rotate(admin_pb2.RotateRequest())
    while time.time() < since + RENEWED_WITHIN:
        listed = (await admin.ListIdentities(admin_pb2.ListIdentitiesRequest(state="live"))).identities
        new = {(each.node, each.entry_id) for each in listed if each.entry_id and each.recorded_at >= since}
        if len(new) == WORKLOADS:
            return
        await asyncio.sleep(0.1)
    raise RingfenceError(Kind.TIMEOUT, f"after {RENEWED_WITHIN:.0f} s not all of {WORKLOADS} SVIDs are new")


async def _scored_in(stage: FraudStage, zone: str, within: float, *, alone: bool = False) -> dict[str, Any]:
    """Wait until payments are scored in *zone*, or there and nowhere else; what was paid meanwhile."""
    total: dict[str, Any] = {"sent": 0, "failed": 0, "failures": []}
    until = time.monotonic() + within
    while time.monotonic() < until:
        report = await stage.customers.ask("report")
        total = {key: total[key] + report[key] for key in total}
        zones = report["zones"].keys()
        if zone in zones and not (alone and len(zones) > 1):
            break
        await asyncio.sleep(0.2)
    else:
        total["failures"].append(f"nothing is scored in {zone}")
        total["failed"] += 1
    return total
