"""The chain for callers without mutual TLS: a chain of its own, with trees in which nobody has a name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from ringfence.policy.evaluate import Request, evaluate
from ringfence.xds import codec, types
from ringfence.xds.compile import compile_snapshot, next_expiry
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.policy import intent, plain
from tests.policy.intent import NOW
from tests.xds.test_routing import read
from tests.xds.trees import verdict

END = datetime.fromisoformat(plain.UNTIL)
AT = Instance("r", inbound={"http": ("127.0.0.1", 1), "db": ("127.0.0.1", 2)}, socket_dir="/run/registry")
TRAINER = "spiffe://example.test/ns/team-a/sa/trainer"


def snapshot_of(text: str, now: datetime = NOW) -> Snapshot:
    """Of the registry's proxy."""
    model = intent.model_of(text)
    return compile_snapshot(model, model.workloads["shared/registry"], AT, {}, now=now)


def listener(text: str, now: datetime = NOW, port: str = "http") -> Any:
    """The listener of that port."""
    return read(snapshot_of(text, now), types.LISTENER, f"inbound/{port}")


def inside(packed: Any) -> Any:
    """The message in an Any."""
    return codec.unpack(packed.SerializeToString())


def policy(snapshot: Snapshot, name: str) -> Any:
    """The RBAC filter of that name."""
    return inside(read(snapshot, types.EXTENSION_CONFIG, name).typed_config)


def test_off_by_default_and_gone_at_its_end():
    """Not a byte of a port that takes no plaintext differs from one that never did."""
    without = snapshot_of(intent.joined(intent.MESH, intent.TRAINER, intent.REGISTRY, intent.PULL))
    ended = snapshot_of(plain.text(), END).resources
    assert snapshot_of(plain.text()).resources != ended
    for url, named in without.resources.items():
        assert {name: one.version for name, one in named.items()} == {n: o.version for n, o in ended[url].items()}
    assert next_expiry(intent.model_of(plain.text()), NOW) == END


def test_the_mesh_is_the_default_and_plaintext_has_a_chain_of_its_own():
    """Only what is no TLS and comes from there finds it; the port beside it has none."""
    made = listener(plain.text(more=", from: [10.0.0.0/8, 'fd00::/8']"))
    (own,) = made.filter_chains
    assert own.filter_chain_match.transport_protocol == "raw_buffer"
    ranges = own.filter_chain_match.direct_source_prefix_ranges
    assert [(one.address_prefix, one.prefix_len.value) for one in ranges] == [("10.0.0.0", 8), ("fd00::", 8)]
    assert not own.HasField("transport_socket")
    assert made.default_filter_chain.HasField("transport_socket")
    assert [one.name for one in made.listener_filters] == ["envoy.filters.listener.tls_inspector"]
    beside = listener(plain.text(), port="db")
    assert (len(beside.filter_chains), beside.HasField("default_filter_chain")) == (1, False)


def test_no_certificate_is_passed_on():
    """What a caller says of its certificate is dropped, and its records say that it came in plaintext."""
    (own,) = listener(plain.text()).filter_chains
    manager = inside(own.filters[0].typed_config)
    assert manager.forward_client_cert_details == manager.SANITIZE
    filters = [one.name for one in manager.http_filters]
    assert filters[1:] == [
        "ringfence.guard",
        "inbound/http/plaintext/deny",
        "inbound/http/plaintext/allow",
        "envoy.filters.http.router",
    ]
    assert "ringfence.plaintext" in str(manager.access_log)


@pytest.mark.parametrize("path", ["/ready", "/models/team-a/x", "/"])
@pytest.mark.parametrize("address", ["10.1.2.3", "11.1.2.3"])
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_the_trees_say_what_the_evaluator_says(path: str, address: str, effect: str):
    """Rules for others are in none of them, whatever a tree is asked about."""
    second = plain.PROBE.replace("name: probe", "name: second").replace("[/ready]", "['/**']")
    second = second.replace("{plaintext: true}", "{plaintext: true, cidrs: [10.0.0.0/8]}, {workload: registry}")
    text = plain.text(second.replace("kind: Allow", f"kind: {effect}"))
    call = Request(None, "shared/registry", "http", NOW, "GET", path, address=address, plaintext=True)
    wanted = evaluate(intent.model_of(text), call)
    headers = {":path": path, ":method": "GET"}
    snapshot = snapshot_of(text)
    deny, allow = (policy(snapshot, f"inbound/http/plaintext/{kind}").matcher for kind in ("deny", "allow"))
    for uri in ("", TRAINER):
        found = verdict(deny, uri, headers, address=address)
        assert found is not None
        if found[1]:
            found = verdict(allow, uri, headers, address=address)
        assert found == (wanted.policy_id, wanted.allowed)


def test_the_trees_of_the_mesh_hold_nothing_of_a_rule_for_others():
    """To a certificate of any name, and of none, `{plaintext: true}` says nothing."""
    snapshot = snapshot_of(plain.text())
    for kind in ("deny", "allow"):
        assert "shared/probe" not in str(policy(snapshot, f"inbound/http/{kind}"))


def test_callers_share_a_bucket_of_each_limit():
    """They have no name by which they could have one each."""
    limited = """
    kind: Traffic
    metadata: {name: registry, namespace: shared}
    spec: {to: {workload: registry, port: http}, rateLimits: [{requests: 2, per: 1h}, {requests: 9, per: 1h, by: all}]}
    """
    found = policy(snapshot_of(plain.text(limited)), "inbound/http/plaintext/limits/all")
    assert [(d.entries[0].value, d.token_bucket.max_tokens) for d in found.descriptors] == [("all", 2), ("all", 9)]


def test_a_tcp_port_is_judged_by_its_own_tree():
    """Deny, then allow, then nobody; shadow rules beside."""
    text = plain.text().replace("postgres}", "postgres, plaintext: {until: " + plain.UNTIL + ", " + plain.OWNED + "}}")
    rows = plain.PROBE.replace("name: probe", "name: rows").replace("port: http", "port: db")
    rows = "".join(line for line in rows.splitlines(keepends=True) if "http:" not in line)
    shadow = rows.replace("name: rows", "name: shadow").replace("  owner", "  mode: shadow\n  owner")
    (own,) = listener(intent.joined(text, rows, shadow), port="db").filter_chains
    *shadows, enforced, proxy = own.filters
    assert [one.name for one in shadows] == ["ringfence.shadow_allow_rbac"]
    assert proxy.name == "envoy.filters.network.tcp_proxy"
    found = verdict(inside(enforced.typed_config).matcher, "")
    assert found is not None
    assert (found[0].partition("@")[0], found[1]) == ("shared/rows", True)
    nobody = listener(text, port="db").filter_chains[0].filters[0]
    assert verdict(inside(nobody.typed_config).matcher, TRAINER) == ("default-deny@builtin", False)


def test_a_minute_before_its_end_it_is_as_at_the_beginning():
    """Nothing counts down in what proxies hold."""
    assert snapshot_of(plain.text(), END - timedelta(minutes=1)).resources == snapshot_of(plain.text()).resources
