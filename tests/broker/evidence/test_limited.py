"""A refusal for a rate limit is a decision like any other: counted, named, and led back to its document."""

from __future__ import annotations

from ringfence.broker.evidence.service import Evidence
from ringfence.broker.evidence.story import tell
from ringfence.xds import decision as envoy
from tests.broker.evidence.books import NoRules
from tests.broker.evidence.test_receive import TRACE, denied_request, export
from tests.broker.evidence.test_service import report
from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, model_of

TRAFFIC = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  rateLimits: [{requests: 10, per: 1m, burst: 20}, {requests: 500, per: 1s, by: all}]
"""
LIMITED = model_of(MESH, TRAINER, REGISTRY, PULL, TRAFFIC)
PLAIN = model_of(MESH, TRAINER, REGISTRY, PULL)
REGISTRY_ID = "spiffe://example.test/ns/shared/sa/registry"
OF_LIMIT = {envoy.DENY: "none@builtin", envoy.ALLOW: "team-a/pull@1", envoy.DETAILS: "local_rate_limited"}


async def test_what_a_limit_refused_names_its_document() -> None:
    """File and line of the Traffic in force, and what it grants; an Allow alone is not enough."""
    evidence = Evidence(NoRules(), model=lambda: LIMITED)
    logged = denied_request(**{**OF_LIMIT, envoy.CODE: "429", envoy.LISTENER: "inbound/http"})
    await report(evidence, export(logged).SerializeToString(), REGISTRY_ID)
    (found,) = await evidence.explain(TRACE, 0)

    traffic = next(iter(LIMITED.traffic.values()))
    assert (found.rule, found.allowed, found.status) == ("rate-limited", False, 429)
    assert (found.path, found.line) == (traffic.origin.path, traffic.origin.line)
    assert "each caller have 10 requests every 60 s, 20 at once" in found.reason
    assert "all together have 500 requests every 1 s, 500 at once" in found.reason
    assert "once the limit has room again" in tell(found)
    assert evidence.counters()["decisions_rate_limited"] == 1


async def test_a_limit_that_is_gone_is_still_named_by_its_kind() -> None:
    """Without the document there is no line to show, and no other one is shown instead."""
    for model in (PLAIN, None):
        evidence = Evidence(NoRules(), model=lambda now=model: now)  # type: ignore[misc]
        logged = denied_request(**{**OF_LIMIT, envoy.CODE: "429", envoy.LISTENER: "inbound/http"})
        await report(evidence, export(logged).SerializeToString(), REGISTRY_ID)
        (found,) = await evidence.explain(TRACE, 0)
        assert (found.rule, found.path) == ("rate-limited", "")
        assert "rate limit of the port" in found.reason


async def test_an_application_that_says_429_limits_nothing_of_ours() -> None:
    """Its answers are its own: the request was allowed."""
    evidence = Evidence(NoRules(), model=lambda: LIMITED)
    logged = denied_request(**{**OF_LIMIT, envoy.CODE: "429", envoy.DETAILS: "via_upstream"})
    await report(evidence, export(logged).SerializeToString(), REGISTRY_ID)
    (found,) = await evidence.explain(TRACE, 0)
    assert (found.rule, found.allowed) == ("team-a/pull", True)
    assert evidence.counters()["decisions_rate_limited"] == 0


async def test_a_connection_too_many_names_its_workload() -> None:
    """File and line of the Workload in force, and how many it keeps; who calls is an address."""
    keeping = model_of(MESH, TRAINER, REGISTRY.replace("protocol: http", "protocol: http, maxConnections: 9"), PULL)
    evidence = Evidence(NoRules(), model=lambda: keeping)
    logged = denied_request(
        **{
            envoy.POINT: envoy.POINT_TLS,
            envoy.CLOSED: "over_connection_limit",
            envoy.LISTENER: "inbound/http",
            envoy.PEER: "-",
        }
    )
    await report(evidence, export(logged).SerializeToString(), REGISTRY_ID)
    (found,) = await evidence.explain(TRACE, 0)

    origin = keeping.workloads["shared/registry"].origin
    assert (found.rule, found.allowed, found.source) == ("connection-limited", False, "127.0.0.1:5000")
    assert (found.path, found.line) == (origin.path, origin.line)
    assert "port http of shared/registry keeps 9 connections open at once" in found.reason
    assert "once a connection has ended" in tell(found)
    assert evidence.counters()["decisions_connection_limited"] == 1
