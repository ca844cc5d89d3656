"""A scorer's key in wrong hands: what it opens, what the control plane lets it do, and how soon it is worth nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from ringfence.broker.demo.fraud import ports
from ringfence.broker.demo.fraud.stage import NEAR, TRUST_DOMAIN, FraudStage
from ringfence.broker.run.kernel import descendants_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client

SCORER = f"spiffe://{TRUST_DOMAIN}/ns/fraud/sa/scorer"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/ns/edge/sa/gateway"
DECISIONS, FEATURES, CORE = "fraud/decisions/http", "fraud/features/postgres", "banking/core/http"
# All that a scorer may do, and so all that whoever has its key may.
OWN_UPSTREAMS = {(DECISIONS, "POST /decisions"), (FEATURES, "a database session")}
CLUSTERS = ["outbound/decisions.fraud/http", "outbound/features.fraud/postgres"]
BY_GATEWAY = "scorers, as edge/gateway calls them"
FORBIDDEN = 403
UNKNOWN = "unknown port"
PROXIES = 6
CONNECTED_WITHIN = SCORED_AGAIN_WITHIN = 30.0
# A proxy hears at once; one whose stream has just ended with its SVID hears when it is back, seconds later.
REFUSED_WITHIN_MS = 5000
REFUSALS = {"PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"}  # UNIMPLEMENTED: not at the server's port
OWN_PROXY = {"/ringfence.proxy.v1.Proxy/Describe", "/ringfence.proxy.v1.Proxy/Leave"}
# A node that has not attested yet has no certificate: these read what anybody sends.
ANYBODY = {"/ringfence.agent.v1.Agent/Attest", "/ringfence.agent.v1.Agent/Challenge"}


async def doors(stage: FraudStage, admin: Client) -> tuple[list[dict[str, str]], int]:
    """Every port that a process of the scenario listens on, and how many are left out: those by which workloads call.

    They are plain to whoever shares the network namespace with the workload, whatever key he has (docs/run.md). Those
    of an isolated workload are in no one else's.
    """
    pids = [process.pid for process in stage.children.running.values()]
    pids += [pid for process in stage.children.running.values() for pid in descendants_of(process.pid)]
    found = []
    for proxy in await _proxies(admin):
        workload = "/".join(proxy.spiffe_id.split("/")[-3::2])
        for name, address in (listener.split("=", 1) for listener in proxy.inbound):
            speaks = "tcp" if name == "postgres" else "http"
            found.append({"what": f"{workload}/{name}", "address": address, "speaks": speaks})
    known = {int(door["address"].rpartition(":")[2]) for door in found}
    open_here = ports.listening(pids)
    upstreams = ports.given(pids, ports.UPSTREAM) & open_here
    names = dict.fromkeys(ports.given(pids, ports.EGRESS), "the way out of a workload")
    names |= {int(address.rpartition(":")[2]): what for what, address in stage.addresses.items()}
    for port in sorted(open_here - known - upstreams):
        what = names.get(port, f"{UNKNOWN} {port}")
        found.append({"what": what, "address": f"127.0.0.1:{port}", "speaks": "http"})
    return found, len(upstreams)


async def _proxies(admin: Client) -> list[Any]:
    """Every proxy, once all of them have found the server again; raises TIMEOUT."""
    from ringfence.admin.v1 import admin_pb2

    until = time.monotonic() + CONNECTED_WITHIN
    while time.monotonic() < until:
        proxies = list((await admin.ListProxies(admin_pb2.ListProxiesRequest())).proxies)
        if len(proxies) == PROXIES:
            return proxies
        await asyncio.sleep(0.1)
    raise RingfenceError(Kind.TIMEOUT, f"after {CONNECTED_WITHIN:.0f} s not all of {PROXIES} proxies are connected")


async def scan(stage: FraudStage, admin: Client) -> dict[str, Any]:
    """Try everything at every door with the key of a scorer, by a process that is no workload."""
    folder = await stage.leaked(NEAR)
    found, left_out = await doors(stage, admin)
    tries = (await stage.intruder.ask("knock", folder=str(folder), doors=found))["tries"]
    unknown = [door["what"] for door in found if door["what"].startswith(UNKNOWN)]
    meshed = {door["what"] for door in found} - set(stage.addresses)
    reached = [each for each in tries if each["door"] in meshed and _reached(each)]
    denied = [each["decision"] for each in tries if each["door"] == CORE and each.get("decision")]
    opened = {(each["door"], each["asked"]) for each in reached}
    others = {each["door"]: each["status"] for each in tries if each["door"] not in meshed and _reached(each)}
    return {
        "ports": len(found),
        "left_out": left_out,
        "tries": len(tries),
        "opened": sorted(" ".join(pair) for pair in opened),
        "public": others,
        "decision": denied[0] if denied else "",
        "core_banking": stage.foreign_records("core", GATEWAY),
        "unknown": unknown,
        "ok": opened == OWN_UPSTREAMS and not stage.foreign_records("core", GATEWAY) and not unknown,
    }


def _reached(tried: dict[str, Any]) -> bool:
    """Whether anything but a refusal came back."""
    return bool(tried["status"]) and tried["status"] != FORBIDDEN


async def control_plane(stage: FraudStage) -> dict[str, Any]:
    """Call every method of the server with the key, and ask each agent for more."""
    folder = await stage.leaked(NEAR)
    asked = await stage.intruder.ask("control", folder=str(folder), server=stage.listen, claims=[SCORER, GATEWAY])
    fetched = (await stage.intruder.ask("fetch", sockets=stage.agent_sockets()))["codes"]
    granted = sorted(path for path, code in asked["codes"].items() if path not in ANYBODY and code not in REFUSALS)
    own, as_gateway = (asked["claims"][claim] for claim in (SCORER, GATEWAY))
    agents = sorted(set(fetched.values()))
    return {
        "methods": len(asked["codes"]),
        "granted": granted,
        "own": own,
        "as_gateway": as_gateway,
        "agents": agents,
        "ok": set(granted) <= OWN_PROXY
        and own == CLUSTERS
        and as_gateway == "PERMISSION_DENIED"
        and agents == ["PERMISSION_DENIED"],
    }


async def revoke(stage: FraudStage, admin: Client) -> dict[str, Any]:
    """Revoke the identity while the key is in use at every proxy that it opens; then give it back to the scorers."""
    from ringfence.admin.v1 import admin_pb2

    held = await _hold(stage, admin, await stage.leaked(NEAR))
    meanwhile = await stage.customers.ask("report")
    began = time.monotonic()
    request = admin_pb2.RevokeIdentitiesRequest(spiffe_ids=[SCORER], reason="its key was copied", code="keyCompromise")
    await admin.RevokeIdentities(request)
    refused = (await stage.intruder.ask("refused"))["at"]
    customers = await stage.customers.ask("report", since=began)
    took = {what: round(1000 * (at - began), 1) for what, at in refused.items()}
    if customers["first_failure"]:
        took[BY_GATEWAY] = round(1000 * (customers["first_failure"] - began), 1)
    lifted = time.monotonic()
    await admin.LiftRevocations(admin_pb2.LiftRevocationsRequest(spiffe_ids=[SCORER]))
    again = await _scored_again(stage)
    return {
        "opened": held,
        "meanwhile": meanwhile,
        "ms": took,
        "again_s": round(time.monotonic() - lifted, 2) if again else None,
        "ok": meanwhile["failed"] == 0 < meanwhile["sent"]
        and 0 < len(held) == len(refused) == len(took) - 1
        and max(took.values()) < REFUSED_WITHIN_MS
        and again,
    }


async def _hold(stage: FraudStage, admin: Client, folder: Path) -> list[str]:
    """Have the intruder use what the key opens, over and over; nothing when it does not open both."""
    found, _ = await doors(stage, admin)
    uses = [{**door, "asked": ["POST", "/decisions"], "opens": [201]} for door in found if door["what"] == DECISIONS]
    uses += [{**door, "opens": [200]} for door in found if door["what"] == FEATURES]
    opened: list[str] = (await stage.intruder.ask("hold", folder=str(folder), doors=uses))["opened"]
    if len(opened) != len(uses):
        return []
    return opened


async def _scored_again(stage: FraudStage) -> bool:
    """Whether payments are scored again within a while."""
    until = time.monotonic() + SCORED_AGAIN_WITHIN
    while time.monotonic() < until:
        if (await stage.customers.ask("report"))["zones"]:
            return True
        await asyncio.sleep(0.1)
    return False


async def explain(stage: FraudStage, decision: str) -> dict[str, Any]:
    """`ringfence authz explain` of a refusal at core banking."""
    text = await stage.command("authz", "explain", decision)
    rule = "banking/nothing-from-fraud"
    document = (stage.places.intent / "banking.yaml").read_text()
    line = document.partition("name: nothing-from-fraud")[0].count("\n")  # of `kind: Deny`, which is one before
    return {"text": text, "rule": rule, "line": line, "ok": rule in text and f"banking.yaml:{line}\n" in text}
