"""Makes each call of the table, finds the decision recorded for it, and holds both against what must be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ringfence.broker.demo.calls import Call
from ringfence.broker.demo.stage import Stage
from ringfence.proto.client import Client

HTTP_OK_BELOW = 400
EXPLAIN_WAIT_MS = 5000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call."""

    call: Call
    succeeded: bool
    answer: str
    decision: Any | None  # ringfence.admin.v1.Decision

    @property
    def problem(self) -> str:
        """Why this is not what must be; empty when it is."""
        if self.succeeded != self.call.allowed:
            return f"{'succeeded' if self.succeeded else 'failed'}: {self.answer}"
        if self.decision is None:
            return "no decision was recorded"
        if self.decision.rule != self.call.rule or self.decision.allowed != self.call.allowed:
            return f"decided by {self.decision.rule}, not by {self.call.rule}"
        if self.decision.rule.count("/") and not (self.decision.path and self.decision.line):
            return "the decision does not lead to a line of intent"
        return ""

    def facts(self) -> dict[str, Any]:
        """For the JSON report."""
        d = self.decision
        return {
            "who": self.call.who,
            "call": self.call.title,
            "allowed": self.succeeded,
            "expected": self.call.allowed,
            "rule": d.rule if d else "",
            "where": where(d),
            "revision": d.revision if d else "",
            "decision": d.id if d else "",
            "problem": self.problem,
        }


def where(decision: Any) -> str:
    """`file:line` of the rule, or what a named default is called."""
    if decision is None:
        return ""
    return f"{decision.path.rsplit('/', 1)[-1]}:{decision.line}" if decision.path else f"({decision.rule})"


class Judge:
    """Makes calls through the probes and asks the server for the decisions."""

    def __init__(self, stage: Stage, admin: Client) -> None:
        self._stage = stage
        self._admin = admin

    async def all(self, calls: tuple[Call, ...]) -> list[Outcome]:
        """Every call in turn."""
        return [await self.one(call) for call in calls]

    async def one(self, call: Call) -> Outcome:
        """One call and its decision."""
        probe = self._stage.trainer if call.who.endswith("trainer") else self._stage.notebook
        command = dict(call.command)
        if "inbound" in command:
            command["address"] = await self._inbound(command.pop("inbound"))
        since = time.time_ns()
        result = await probe.ask(call.do, **command)
        succeeded = 0 < result["status"] < HTTP_OK_BELOW
        answer = str(result["status"] or result.get("error", ""))
        return Outcome(call, succeeded, answer, await self._decision(call, result.get("trace", ""), since))

    async def _inbound(self, served: str) -> str:
        """Where the proxy of `namespace/name/port` listens."""
        from ringfence.admin.v1 import admin_pb2

        key, _, port = served.rpartition("/")
        path = "/ns/{}/sa/{}".format(*key.split("/"))
        answer = await self._admin.ListProxies(admin_pb2.ListProxiesRequest())
        for proxy in answer.proxies:
            if proxy.spiffe_id.endswith(path):
                for listener in proxy.inbound:
                    name, _, address = listener.partition("=")
                    if name == port:
                        return str(address)
        return ""

    async def _decision(self, call: Call, trace: str, since: int) -> Any | None:
        from ringfence.admin.v1 import admin_pb2

        if trace:
            question = admin_pb2.ExplainAuthzRequest(id=trace, wait_ms=EXPLAIN_WAIT_MS)
            return _deciding((await self._admin.ExplainAuthz(question)).decisions, call)
        request = admin_pb2.TailAuthzRequest(follow=True, last=50)
        stream = self._admin.TailAuthz(request, timeout=EXPLAIN_WAIT_MS / 1000)
        return await _first(stream, call, since)


def _deciding(decisions: Any, call: Call) -> Any | None:
    """Of the proxies that judged a request, the one that refused it, else the one in front of what was called."""
    denied = [d for d in decisions if not d.allowed]
    return next(iter(denied or [d for d in decisions if d.rule == call.rule] or decisions), None)


async def _first(stream: Any, call: Call, since: int) -> Any | None:
    """The first decision since *since* that fits a call without a trace id."""
    import grpc

    # Proxies stamp with their own clock reading of the connection's start; allow for its coarseness.
    since -= 50_000_000
    try:
        async for decision in stream:
            fits = call.to.replace("/", "/sa/") in decision.destination or call.to in decision.destination
            if fits and decision.time_ns >= since and decision.allowed == call.allowed:
                return decision
    except grpc.RpcError:
        return None
    finally:
        stream.cancel()
    return None
