"""A log record says one thing: allowed or denied, by whom."""

import pytest

from ringfence.xds.decision import (
    ALLOW,
    CLOSED,
    CODE,
    CONNECTION,
    CONNECTION_RESULT,
    DENY,
    DNS_CODE,
    DNS_TYPE,
    GUARD,
    POINT,
    POINT_EGRESS,
    POINT_HTTP,
    POINT_OUTBOUND,
    POINT_TCP,
    POINT_TLS,
    SHADOW_ALLOW,
    SHADOW_DENY,
    TLS_FAILURE,
    Decision,
    decide,
)

DEFAULT, NONE = "default-deny@builtin", "none@builtin"
QUESTION = {POINT: POINT_EGRESS, CONNECTION: DEFAULT, CONNECTION_RESULT: "denied"}
REQUEST = {POINT: POINT_HTTP, CODE: "200", GUARD: "one-uri@builtin", DENY: NONE, ALLOW: "a/x@1"}


@pytest.mark.parametrize(
    ("logged", "decided"),
    [
        (REQUEST, Decision(allowed=True, policy_id="a/x@1")),
        (REQUEST | {DENY: "a/no@2", ALLOW: "-"}, Decision(allowed=False, policy_id="a/no@2")),
        (REQUEST | {ALLOW: DEFAULT}, Decision(allowed=False, policy_id=DEFAULT)),
        (
            REQUEST | {GUARD: "not-one-uri@builtin", DENY: "-", ALLOW: "-"},
            Decision(allowed=False, policy_id="not-one-uri@builtin"),
        ),
        # Envoy refused it by itself: no filter spoke, and that is no leave.
        ({POINT: POINT_HTTP, CODE: "400", GUARD: "-", DENY: "-", ALLOW: ""}, Decision(False, DEFAULT)),
        (REQUEST | {SHADOW_DENY: "a/s@3", SHADOW_ALLOW: DEFAULT}, Decision(True, "a/x@1", "a/s@3")),
        (REQUEST | {SHADOW_DENY: NONE, SHADOW_ALLOW: "a/s@3"}, Decision(True, "a/x@1")),
        (REQUEST | {ALLOW: DEFAULT, SHADOW_DENY: "a/t@4", SHADOW_ALLOW: "a/s@3"}, Decision(False, DEFAULT, "a/s@3")),
        (REQUEST | {DENY: "a/no@2", SHADOW_ALLOW: "a/s@3"}, Decision(False, "a/no@2")),
        ({POINT: POINT_TCP, CONNECTION: "a/x@1", CONNECTION_RESULT: "allowed"}, Decision(True, "a/x@1")),
        ({POINT: POINT_TCP, CONNECTION: "a/no@2", CONNECTION_RESULT: "denied"}, Decision(False, "a/no@2")),
        ({POINT: POINT_TCP, CONNECTION: "-", CONNECTION_RESULT: "-"}, None),
        ({POINT: POINT_TLS, TLS_FAILURE: "TLS_error"}, Decision(False, "not-mtls@builtin")),
        ({POINT: POINT_TLS, TLS_FAILURE: "-"}, None),
        ({POINT: POINT_TLS, CLOSED: "over_connection_limit"}, Decision(False, "connection-limited@builtin")),
        ({POINT: POINT_TLS, CLOSED: "other"}, None),
        (REQUEST | {POINT: POINT_OUTBOUND, CODE: "503"}, None),
        # Of names only one that has no address is a denial; every A question comes with an AAAA one.
        (QUESTION | {DNS_TYPE: "1", DNS_CODE: "3"}, Decision(False, DEFAULT)),
        (QUESTION | {DNS_TYPE: "28", DNS_CODE: "3"}, None),
        (QUESTION | {DNS_TYPE: "1", DNS_CODE: "0"}, None),
        (QUESTION | {DNS_CODE: "3"}, None),
        ({}, None),
    ],
)
def test_a_record_says_one_thing(logged: dict[str, str], decided: Decision | None):
    """Each shape of record has one reading, and absence is never leave."""
    assert decide(logged) == decided
