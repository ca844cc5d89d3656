"""One decision as an enforcement point reported it: what was decided and by which policy, not where that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.identities import covers, identity

HTTP, TCP, TLS, EGRESS, MODEL = "envoy.http", "envoy.tcp", "envoy.tls", "envoy.egress", "model"
# Where the reporter is the destination; at the egress it is the source.
INBOUND = frozenset({HTTP, TCP, TLS})


@dataclass(frozen=True, slots=True)
class Record:
    """A decision without its join to the intent; `id` is a trace id, a STREAM_ID, or listener + peer + time."""

    id: str
    allowed: bool
    rule: str  # a rule's id or a named default
    rule_hash: str
    source: str  # SPIFFE ID, or where there is none `plaintext` or the peer's address
    destination: str  # SPIFFE ID, or the host of an external
    point: str
    time_ns: int
    method: str = ""
    path: str = ""
    shadow: str = ""  # policy id of the shadow rule that would have decided otherwise
    status: int = 0
    span_id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions are wanted; an empty field wants any.

    Names are SPIFFE IDs, NAMESPACE/NAME, hosts, or the ranks of a job as one (`ringfence.policy.identities`).
    """

    denied_only: bool = False
    source: str = ""
    destination: str = ""
    rule: str = ""

    def wants(self, record: Record) -> bool:
        """Whether *record* is among them."""
        return (
            not (self.denied_only and record.allowed)
            and _is(self.source, record.source)
            and _is(self.destination, record.destination)
            and self.rule in {"", record.rule}
        )


def _is(wanted: str, actual: str) -> bool:
    if wanted in {"", actual}:
        return True
    if wanted.endswith("/*"):
        return actual.startswith("spiffe://") and _is_rank(wanted, actual)
    namespace, slash, name = wanted.partition("/")
    return bool(slash) and actual.startswith("spiffe://") and actual.endswith(f"/ns/{namespace}/sa/{name}")


def _is_rank(wanted: str, actual: str) -> bool:
    try:
        return covers(identity(wanted), SpiffeId.parse(actual))
    except RingfenceError:
        return False
