"""From a decision to the line of intent that made it, joined where decisions are read."""

from __future__ import annotations

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.evidence.book import RuleBook
from ringfence.broker.evidence.record import Record
from ringfence.policy.model import (
    CONNECTION_LIMITED,
    DEFAULT_DENY,
    FORBIDDEN_ADDRESS,
    NO_DENY,
    NOT_MTLS,
    NOT_ONE_URI,
    REVOKED,
)
from ringfence.policy.traffic import RATE_LIMITED

# What each decision means that no rule made.
MEANINGS = {
    DEFAULT_DENY: "no rule allows this, and whatever no rule allows is denied",
    NOT_ONE_URI: "the caller's certificate does not name exactly one identity",
    NOT_MTLS: "the caller proved no identity of this mesh",
    RATE_LIMITED: "rules allow this, and a rate limit of the port was used up",
    CONNECTION_LIMITED: "as many connections as the port keeps at once were open; nobody was asked who calls",
    REVOKED: "the identity of one of the two, or the certificate that the caller showed, was revoked",
    FORBIDDEN_ADDRESS: "the host's name leads to an address that no workload may reach: metadata or loopback",
    NO_DENY: "no rule denies this",
}


def joined(record: Record, book: RuleBook) -> admin_pb2.Decision:
    """*record* with file, line, revision, author and commit of its rule, as *book* knows them."""
    decision = admin_pb2.Decision(
        id=record.id,
        allowed=record.allowed,
        rule=record.rule,
        rule_hash=record.rule_hash,
        source=record.source,
        destination=record.destination,
        method=record.method,
        request_path=record.path,
        point=record.point,
        time_ns=record.time_ns,
        shadow_rule=record.shadow.partition("@")[0],
        status=record.status,
        span_id=record.span_id,
        attributes=dict(record.attributes),
    )
    if record.rule in MEANINGS:
        decision.reason, decision.revision = MEANINGS[record.rule], book.revision
    elif (facts := book.lookup(record.rule, record.rule_hash)) is not None:
        decision.path, decision.line = facts.path, facts.line
        decision.revision, decision.author, decision.commit = facts.revision, facts.author, facts.commit
        decision.reason, decision.owner = facts.reason, facts.owner
    else:
        decision.reason = "this server never applied the rule in that form"
    return decision
