"""What the demo does to a running mesh: revoke an allowed call, rotate every key, kill the server; each measured."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ringfence.broker.demo.calls import LOAD, REVOKED, REVOKED_RULE
from ringfence.broker.demo.stage import Stage
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client

SETTLE = 2.0  # seconds of traffic before and after an act
ROTATE_SPREAD = 3.0
FORBIDDEN = 403


async def revoke(stage: Stage, admin: Client) -> dict[str, Any]:
    """Take one Allow out of the intent, apply it, and time the first refusal on the connection that stays open."""
    document = _document_of(stage, REVOKED_RULE)
    before = document.read_text()
    await stage.trainer.ask("http", **REVOKED.command)  # the connection that stays open
    refused = asyncio.create_task(stage.trainer.ask("until_refused", **REVOKED.command))
    document.write_text(_without(before, REVOKED_RULE))
    applied = await _apply(stage, admin)
    result = await refused
    document.write_text(before)
    await _apply(stage, admin)
    return {
        "rule": f"team-a/{REVOKED_RULE}",
        "status": result["status"],
        "same_connection": bool(result.get("same")),
        "ms": round((result["at"] - applied) * 1000, 1),
        "ok": result["status"] == FORBIDDEN and bool(result.get("same")),
    }


async def rotate(stage: Stage, admin: Client) -> dict[str, Any]:
    """New authorities, then new SVIDs for everybody, while requests go on."""
    from ringfence.admin.v1 import admin_pb2

    probes = (stage.trainer, stage.notebook)
    before = [await probe.ask("svid") for probe in probes]
    await stage.trainer.ask("load", commands=list(LOAD))
    await asyncio.sleep(SETTLE / 2)
    answer = await admin.Rotate(admin_pb2.RotateRequest(authority=True))
    await asyncio.sleep(SETTLE + ROTATE_SPREAD)
    report = await stage.trainer.ask("report")
    after = [await probe.ask("svid") for probe in probes]
    renewed = all(
        old["serial"] != new["serial"] and old["authority"] != new["authority"] == answer.authority
        for old, new in zip(before, after, strict=True)
    )
    ok = renewed and report["failed"] == 0 and report["sent"] > 0
    return {**report, "authority": answer.authority, "renewed": renewed, "ok": ok}


async def restart_server(stage: Stage) -> dict[str, Any]:
    """Kill the server with SIGKILL and start it again, while requests go on."""
    await stage.trainer.ask("load", commands=list(LOAD))
    await asyncio.sleep(SETTLE / 4)
    await stage.children.kill("server")
    await asyncio.sleep(SETTLE)
    began = time.monotonic()
    await stage.start_server()
    ready = time.monotonic() - began
    await asyncio.sleep(SETTLE)
    report = await stage.trainer.ask("report")
    return {**report, "ready_s": round(ready, 2), "ok": report["failed"] == 0 and report["sent"] > 0}


async def _apply(stage: Stage, admin: Client) -> float:
    """Apply the intent; gives the monotonic time at which apply was called."""
    from ringfence.admin.v1 import admin_pb2

    paths = sorted(stage.places.intent.iterdir())
    documents = [admin_pb2.Document(path=str(path), text=path.read_bytes()) for path in paths]
    began = time.monotonic()
    answer = await admin.ApplyPolicy(admin_pb2.ApplyPolicyRequest(documents=documents))
    errors = [f"{f.path}:{f.line}: {f.message}" for f in answer.findings if f.level == "error"]
    if errors:
        raise RingfenceError(Kind.INVALID, f"the intent does not apply: {'; '.join(errors)}")
    return began


def _document_of(stage: Stage, rule: str) -> Any:
    return next(path for path in stage.places.intent.glob("*.yaml") if f"name: {rule}" in path.read_text())


def _without(text: str, rule: str) -> str:
    """The documents of a file but the one with that name."""
    return "---\n".join(
        part for part in text.split("---\n") if f"name: {rule}," not in part and f"name: {rule}\n" not in part
    )
