"""The part of the admin API that writes the status of proxies back on the documents of the intent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.fleet.conditions import Condition, conditions
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.intent import Intent


@dataclass(frozen=True, slots=True)
class PolicyApi:
    """Counts the proxies that are connected to this server, and no other server's."""

    intent: Intent
    fleet: Fleet

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """By the name of the call."""
        return {"ShowPolicy": self.show_policy}

    async def show_policy(self, request: pb.ShowPolicyRequest) -> pb.ShowPolicyResponse:
        """Every document in force with its condition, and with what it says where that is asked for."""
        found = [(one, _status(one)) for one in conditions(self.intent.documents, self.fleet.connected)]
        for condition, status in found if request.texts else ():
            status.text = self.intent.text(condition.document)
        return pb.ShowPolicyResponse(revision=self.intent.revision, documents=[status for _, status in found])


def _status(condition: Condition) -> pb.DocumentStatus:
    document = condition.document
    return pb.DocumentStatus(
        document=str(document),
        path=document.origin.path,
        line=document.origin.line,
        state=condition.state.value,
        proxies=condition.proxies,
        applied=condition.applied,
        refused=condition.refused,
    )
