"""The rules learned by measurement (docs/rules.md) that running proxies tell of themselves, and of paths and hosts."""

from __future__ import annotations

import pytest

from tests.e2e.proxies import Caller
from tests.e2e.stack import Stack, Workload

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("rules_learned_proxy")]


def test_every_connection_manager_is_hardened_as_envoy_tells_it(web: Workload, client: Workload) -> None:
    """Rule 6: inbound, upstream and egress alike, in the running proxies' own words."""
    managers = [m for w in (web, client) for m in w.messages() if "HttpConnectionManager" in m.get("@type", "")]
    assert len(managers) >= 3
    for manager in managers:
        assert manager["normalize_path"] is True
        assert manager["merge_slashes"] is True
        assert manager["path_with_escaped_slashes_action"] == "UNESCAPE_AND_FORWARD"
        assert manager["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
        assert manager["strip_trailing_host_dot"] is True


@pytest.mark.parametrize("host", ["hub.example", "HUB.Example", "hub.example.", "hub.example:80", "Hub.Example.:80"])
def test_no_spelling_of_a_host_evades_a_deny(client: Workload, host: str) -> None:
    """Rule 6: whatever the case, dot or port of its name, a host is judged as itself."""
    egress = client.environment["RINGFENCE_EGRESS"].rpartition(":")[2]
    with Caller(int(egress)) as caller:
        assert caller.ask("GET", f"http://{host}/secret/x", host=host).status == 403
        assert caller.ask("GET", f"http://{host}/%2e/secret/x", host=host).status == 403
        assert caller.ask("GET", f"http://{host}/models", host=host).status == 200


@pytest.mark.parametrize("path", ["/models/%2e%2e;/secret/x", "/models/%2e%2e;y/x", "/models/.%2e%3b/x"])
def test_a_path_of_two_readings_leads_nowhere_outside_either(stack: Stack, client: Workload, path: str) -> None:
    """Rule 6: what one server would climb out of is refused on the way out as on the way in, though all is allowed."""
    egress = client.environment["RINGFENCE_EGRESS"].rpartition(":")[2]
    for port, spelled in ((int(egress), f"http://hub.example{path}"), (client.upstream("HUB_HTTP"), path)):
        with Caller(port) as caller:
            answer = caller.ask("GET", spelled, host="hub.example")
        assert answer.status == 403
        (found,) = stack.explain(answer.headers["x-ringfence-decision"], wait_ms=2000)
        assert (found.rule, found.point, found.allowed) == ("default-deny", "envoy.egress", False)


def test_tls_1_3_is_set_wherever_the_mesh_is_spoken_to(web: Workload, client: Workload) -> None:
    """Rule 7: every context with secrets of the agent is 1.3 only, and 1.3 is what calls through it are counted as."""
    with Caller(client.upstream("WEB_HTTP")) as caller:
        assert caller.ask("GET", "/public/a").status == 200
    contexts = [m for w in (web, client) for m in w.messages() if "tls_certificate_sds_secret_configs" in m]
    assert len(contexts) >= 4
    bounds = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    assert all(bounds.items() <= context["tls_params"].items() for context in contexts)
    versions = {
        name: n for name, n in client.stats().items() if name.startswith("cluster.") and ".ssl.versions." in name
    }
    assert any(versions.values())
    assert {name.rpartition(".versions.")[2] for name, n in versions.items() if n} == {"TLSv1.3"}


def test_no_envoy_is_told_to_audit(web: Workload, client: Workload) -> None:
    """Rule 8: `audit_logging_options` is in nothing that a proxy got."""
    for workload in (web, client):
        dump = workload.page("/config_dump?include_eds")
        assert "rbac" in dump
        assert "audit_logging" not in dump


def test_no_proxy_gives_up_on_its_configuration(web: Workload, client: Workload) -> None:
    """Rule 9: each source of each secret and resource waits without end, as the running proxies tell it."""
    for workload in (web, client):
        sources = [m for m in workload.messages() if "resource_api_version" in m]
        assert len(sources) > 4
        assert {source.get("initial_fetch_timeout") for source in sources} == {"0s"}
