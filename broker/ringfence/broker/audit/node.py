"""A node that attested, as the audit log has it."""

from __future__ import annotations

from ringfence.broker.audit.record import Event
from ringfence.broker.store.nodes import Node

_TOKEN = "join_token"  # noqa: S105  # an attestor's name


def attested(node: Node, address: str) -> list[Event]:
    """What to record before *node* gets its first SVID: the token that it used, by its hash, and the node itself."""
    proof = {"attestor": node.attestor, "serial": node.serial, "address": address}
    events = [Event("node.attest", node.spiffe_id, detail=proof, actor=node.spiffe_id)]
    if node.attestor == _TOKEN:
        used = Event("token.use", node.spiffe_id.rpartition("/")[2], detail={"address": address}, actor=node.spiffe_id)
        events.insert(0, used)
    return events
