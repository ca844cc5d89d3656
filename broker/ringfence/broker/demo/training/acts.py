"""What happens to the job: it trains and is watched, strangers try to get in, and one of its ranks is revoked."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ringfence.broker.demo.processes import RINGFENCE
from ringfence.broker.demo.training.stage import (
    FABRIC,
    JOB,
    NODES,
    OTHERS,
    STORE,
    STRANGER,
    WORKLOADS,
    TrainingStage,
    rank_id,
)
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client

REFUSED = 5  # exit code of a command that has no leave
CUT_WITHIN = 20.0  # seconds
# What PyTorch's store reads first of a peer: a query type that asks for a key. A stranger needs no more than that.
QUERY = bytes((2,)).hex()


async def train(stage: TrainingStage) -> dict[str, Any]:
    """Start both ranks with a leak test each; back when they have trained, and go on."""
    began = time.monotonic()
    for rank in reversed(range(len(NODES))):
        pid = await stage.start_rank(rank)
        await stage.children.start(f"leak-{rank}", *_leak_test(stage, rank, pid), talk=True)
    said = await asyncio.gather(*(stage.trained(rank) for rank in range(len(NODES))))
    first, took = said[0], time.monotonic() - began
    steps = [line["at"] for line in stage.said(0) if "step" in line]
    ok = all(one["same"] and one["world"] == len(NODES) for one in said) and first["after"] < first["unigram"]
    return {
        **{key: first[key] for key in ("torch", "world", "weights", "before", "after", "unigram")},
        "same_weights": all(one["same"] for one in said),
        "first_step_s": round(steps[0] - began, 2),
        "seconds": round(took, 2),
        "ok": ok,
    }


def _leak_test(stage: TrainingStage, rank: int, pid: int) -> tuple[str, ...]:
    documents = ("--dir", str(stage.places.intent))
    command = (*RINGFENCE, "fabric", "leak-test", FABRIC, *documents, "--job", JOB, "--pid", str(pid), "-o", "json")
    return stage.wires.within(NODES[rank], *command)


async def leaks(stage: TrainingStage) -> dict[str, Any]:
    """End the leak tests, which watched since the ranks were started; what each found."""
    found: dict[str, Any] = {}
    for rank, machine in enumerate(NODES):
        process = stage.children.running.pop(f"leak-{rank}")
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        if not out:
            raise RingfenceError(Kind.UNAVAILABLE, f"a leak test failed: {stage.children.log_tail(f'leak-{rank}')}")
        found[machine.name] = json.loads(out)
    verdicts = [part["verdict"] for told in found.values() for part in told["items"]]
    return {"nodes": found, "ok": verdicts == ["proved"] * len(verdicts)}


async def wrong_job(stage: TrainingStage, admin: Client) -> dict[str, Any]:
    """A rank of another job dials the proxy of rank 0 with its own certificate, and asks its agent to be a member."""
    joining = stage.run_on(OTHERS, "team-b", "--rank", "1", "--fabric", FABRIC, "--job", JOB, "--", "true")
    (address, dialled), (code, said) = await asyncio.gather(_dial(stage, admin), _ended(joining, stage))
    decision = await _denied(admin, "/ns/team-b/job/bert/rank/0")
    return {
        "address": address,
        "answer": dialled.get("error") or "answered",
        "rule": decision.rule if decision else "",
        "source": decision.source if decision else "",
        "join_code": code,
        "join_said": said,
        "ok": not dialled["status"] and decision is not None and code == REFUSED,
    }


async def _dial(stage: TrainingStage, admin: Client) -> tuple[str, dict[str, Any]]:
    await stage.start_intruder()
    address = await _inbound(admin, rank_id(0))
    return address, await stage.intruder.ask("direct", address=address, send=QUERY)


async def _inbound(admin: Client, spiffe_id: str) -> str:
    from ringfence.admin.v1 import admin_pb2

    answer = await admin.ListProxies(admin_pb2.ListProxiesRequest())
    for proxy in answer.proxies:
        for listener in proxy.inbound if proxy.spiffe_id == spiffe_id else ():
            return str(listener.partition("=")[2])
    raise RingfenceError(Kind.NOT_FOUND, f"{spiffe_id} has no proxy with a port for the store")


async def _denied(admin: Client, caller: str) -> Any | None:
    """The refusal that was recorded of *caller*, waited for."""
    from ringfence.admin.v1 import admin_pb2

    async def look() -> Any | None:
        stream = admin.TailAuthz(admin_pb2.TailAuthzRequest(last=200))
        found = [one async for one in stream if not one.allowed and one.source.endswith(caller)]
        return found[-1] if found else None

    return await _until(look, 10.0)


async def _until(look: Callable[[], Awaitable[Any]], within: float, pause: float = 0.1) -> Any:
    """What *look* gives once it gives anything, or its last nothing."""
    found, until = await look(), time.monotonic() + within
    while not found and time.monotonic() < until:
        await asyncio.sleep(pause)
        found = await look()
    return found


async def _ended(command: tuple[str, ...], stage: TrainingStage) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=stage.environment(),
    )
    _, said = await process.communicate()
    lines = [line for line in said.decode(errors="replace").splitlines() if line.startswith("Error:")]
    return process.returncode or 0, lines[-1].removeprefix("Error: ") if lines else ""


async def stranger(stage: TrainingStage) -> dict[str, Any]:
    """A host on the fabric that is no member dials every port that rank 0's node listens on, and its store."""
    first = NODES[0]
    listening = await stage.on(first, "ss", "-Hltn")
    ports = {int(line.split()[3].rpartition(":")[2]) for line in listening.splitlines() if line.split()}
    addresses = [f"{host}:{port}" for host in (first.fabric, first.control) for port in sorted({STORE, *ports})]
    told = await stage.on(STRANGER, stage.python, str(WORKLOADS / "knock.py"), *addresses)
    answers: dict[str, str] = json.loads(told or "{}")
    fabric = {address: answer for address, answer in answers.items() if address.startswith(first.fabric)}
    store = answers.get(f"{first.control}:{STORE}", "")
    return {
        "ports": len(fabric),
        "answers": sorted(set(fabric.values())),
        "store_listens": STORE in ports,
        "store_by_control": store,
        "ok": STORE in ports and set(fabric.values()) == {"TimeoutError"} and store == "TimeoutError",
    }


async def revoke(stage: TrainingStage, admin: Client) -> dict[str, Any]:
    """Revoke rank 1 in the middle of the job, and time when no kernel lets its address through any more."""
    from ringfence.admin.v1 import admin_pb2

    revoked, gone = rank_id(1), NODES[1].fabric
    steps = len(stage.said(0))
    began = time.monotonic()
    request = admin_pb2.RevokeIdentitiesRequest(spiffe_ids=[revoked], reason="its node is lost", code="keyCompromise")
    await admin.RevokeIdentities(request)
    took = await asyncio.gather(*(_out_of_set(stage, rank, gone, began) for rank in range(len(NODES))))
    cut = time.monotonic()
    code = await stage.children.wait("rank-1", CUT_WITHIN)
    said = stage.children.log_tail("rank-1", 3)
    later = [line["step"] for line in stage.said(0) if line.get("at", 0) > cut]
    again, refused = await _ended(
        stage.run_on(NODES[1], "team-a", "--fabric", FABRIC, "--rank", "1", "--", "true"), stage
    )
    return {
        "steps_before": steps,
        "ms": {machine.name: ms for machine, ms in zip(NODES, took, strict=True)},
        "rank_ended_with": code,
        "rank_said": said.splitlines()[-1] if said else "",
        "steps_after": len(later),
        "again_code": again,
        "again_said": refused,
        "ok": steps > 0 and None not in took and code != 0 and not later and again == REFUSED,
    }


async def _out_of_set(stage: TrainingStage, rank: int, address: str, began: float) -> float | None:
    """Milliseconds until *address* is in the job's set no more on that node; None when it stays."""

    async def look() -> bool:
        return address not in await stage.members(NODES[rank])

    return round(1000 * (time.monotonic() - began), 1) if await _until(look, CUT_WITHIN, 0.005) else None
