"""What a proxy logs of each decision, and what that says: allowed or denied, and by which policy id.

The names are those of the OTLP log attributes that `ringfence.xds.telemetry` asks every proxy for; all values are
strings, and `-` or an empty one means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringfence.policy.model import (
    CONNECTION_LIMITED,
    DEFAULT_DENY,
    FORBIDDEN_ADDRESS,
    NO_DENY,
    NOT_MTLS,
    NOT_ONE_URI,
    named,
)
from ringfence.policy.traffic import RATE_LIMITED

POINT = "ringfence.point"  # where it was decided: one of the POINT_ values
LISTENER = "ringfence.listener"  # inbound/PORT, outbound/NAME.NAMESPACE/PORT or egress
GUARD = "ringfence.guard"  # policy ids as the filters of a listener name them
DENY = "ringfence.deny"
ALLOW = "ringfence.allow"
CONNECTION = "ringfence.connection"
CONNECTION_RESULT = "ringfence.connection.result"  # allowed or denied
SHADOW_DENY = "ringfence.shadow.deny"
SHADOW_ALLOW = "ringfence.shadow.allow"
CODE = "ringfence.code"  # HTTP status
DETAILS = "ringfence.details"  # Envoy's RESPONSE_CODE_DETAILS or CONNECTION_TERMINATION_DETAILS
FLAGS = "ringfence.flags"  # Envoy's RESPONSE_FLAGS
PEER = "ringfence.peer"  # URI SANs of the caller's certificate, joined by commas
PLAINTEXT = "ringfence.plaintext"  # "true" where the caller came without mutual TLS to a port that takes such callers
PEER_ADDRESS = "ringfence.peer.address"
LOCAL_ADDRESS = "ringfence.local.address"  # the proxy's own end of the connection; told to the agent alone
PEER_SERIAL = "ringfence.peer.serial"
LOCAL = "ringfence.local"  # URI SAN of our own certificate
UPSTREAM_PEER = "ringfence.upstream.peer"  # URI SANs of the server that was called, at outbound points
UPSTREAM_CLUSTER = "ringfence.upstream.cluster"
UPSTREAM_FAILURE = "ringfence.upstream.failure"  # why TLS with the server failed
TLS_FAILURE = "ringfence.tls.failure"  # why TLS with the caller failed
CLOSED = "ringfence.closed"  # why the proxy closed a connection, at ports that have a limit of them
METHOD = "ringfence.method"
PATH = "ringfence.path"  # canonical, with its query
AUTHORITY = "ringfence.authority"  # at a range of ports the number that was dialled
SERVER_NAME = "ringfence.server_name"  # that a TLS client asked for (SNI), where its TLS passes through
DNS_TYPE = "ringfence.dns.type"  # of a question, as a number (RFC 1035 section 3.2.2)
DNS_CODE = "ringfence.dns.code"  # of its answer (RFC 1035 section 4.1.1)
TRACE_ID = "ringfence.trace_id"
SPAN_ID = "ringfence.span_id"
STREAM_ID = "ringfence.stream_id"  # the decision id of a TCP connection
LOG_TYPE = "ringfence.log_type"  # Envoy's ACCESS_LOG_TYPE
DURATION = "ringfence.duration_ms"
IDENTITY = "ringfence.identity"  # resource attributes: whose proxy it is
NODE = "ringfence.node"
WORKLOAD = "ringfence.workload"  # namespace/name

POINT_HTTP = "envoy.http"  # requests at an inbound listener
POINT_TCP = "envoy.tcp"  # connections at an inbound listener
POINT_OPENED = "envoy.tcp.opened"  # no decision: told to the agent alone, whose a connection is
POINT_TLS = "envoy.tls"  # handshakes that failed
POINT_EGRESS = "envoy.egress"  # requests and connections of the workload itself to hosts outside
POINT_OUTBOUND = "envoy.outbound"  # calls to the mesh that failed on our side: nothing was decided by a rule

_OVER_LIMIT = "over_connection_limit"  # what Envoy's filter for connections says in CLOSED
_LIMITED = "local_rate_limited"  # what Envoy's filter for rate limits says in DETAILS
_UNKNOWN_NAME = ("1", "3")  # asked for an IPv4 address (A), answered that there is no such name (NXDOMAIN)
RESPONSE_HEADER = "x-ringfence-decision"  # the decision id (trace id) on a refusal


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision by one policy; `shadow_policy_id` (or "") is the shadow rule that would have turned it."""

    allowed: bool
    policy_id: str
    shadow_policy_id: str = ""


def decide(attributes: Mapping[str, str]) -> Decision | None:
    """The decision that a log record reports, None when nothing was decided (a connection that asked for nothing).

    Reads POINT, GUARD, DENY, ALLOW, CONNECTION, CONNECTION_RESULT, DETAILS, SHADOW_DENY, SHADOW_ALLOW,
    TLS_FAILURE, CLOSED, DNS_TYPE, DNS_CODE.
    """
    logged = {key: value for key, value in attributes.items() if value not in {"", "-"}}
    # 1. What ended before any rule could speak.
    if logged.get(POINT) == POINT_TLS:
        return _of_handshake(logged)
    # 2. A call that never left our side was judged elsewhere, or nowhere.
    if logged.get(POINT) == POINT_OUTBOUND:
        return None
    # 3. A name that has an answer will be judged where it leads; without one the way out has ended here.
    if DNS_CODE in logged and (logged.get(DNS_TYPE), logged[DNS_CODE]) != _UNKNOWN_NAME:
        return None
    # 4. A connection was judged by one tree; without a verdict it was closed before its first byte.
    if CONNECTION_RESULT in logged:
        allowed = logged[CONNECTION_RESULT] == "allowed"
        return _with_shadow(logged, allowed=allowed, policy_id=logged.get(CONNECTION, named(DEFAULT_DENY)))
    # 5. A limit counts what rules have let in; nobody but the proxy writes these details.
    if logged.get(DETAILS) == _LIMITED:
        return Decision(allowed=False, policy_id=named(RATE_LIMITED))
    return _of_request(logged) if CODE in logged else None


def _of_handshake(logged: Mapping[str, str]) -> Decision | None:
    """A connection too many is closed before its handshake; one whose handshake did not fail is no decision."""
    if logged.get(CLOSED) == _OVER_LIMIT:
        return Decision(allowed=False, policy_id=named(CONNECTION_LIMITED))
    return Decision(allowed=False, policy_id=named(NOT_MTLS)) if TLS_FAILURE in logged else None


def _of_request(logged: Mapping[str, str]) -> Decision:
    # 1. The filters judge in turn, and the first that says no decides.
    if logged.get(GUARD) == named(NOT_ONE_URI):
        return Decision(allowed=False, policy_id=named(NOT_ONE_URI))
    if logged.get(DENY, named(NO_DENY)) != named(NO_DENY):
        return Decision(allowed=False, policy_id=logged[DENY])
    # 2. An address that nothing may reach was found by DNS, after the rules had spoken.
    if logged.get(DETAILS, "").endswith(f"[{named(FORBIDDEN_ADDRESS)}]"):
        return Decision(allowed=False, policy_id=named(FORBIDDEN_ADDRESS))
    # 3. What no rule allows is denied, also what Envoy refused before any filter ran (a path with %00 in it).
    policy_id = logged.get(ALLOW, named(DEFAULT_DENY))
    return _with_shadow(logged, allowed=policy_id != named(DEFAULT_DENY), policy_id=policy_id)


def _with_shadow(logged: Mapping[str, str], *, allowed: bool, policy_id: str) -> Decision:
    """A shadow rule counts only where it would turn the verdict: a deny of what is allowed, an allow of what is not."""
    shadow = ""
    if allowed and logged.get(SHADOW_DENY) != named(NO_DENY):
        shadow = logged.get(SHADOW_DENY, "")
    elif policy_id == named(DEFAULT_DENY) and logged.get(SHADOW_ALLOW) != named(DEFAULT_DENY):
        shadow = logged.get(SHADOW_ALLOW, "")
    return Decision(allowed, policy_id, shadow)
