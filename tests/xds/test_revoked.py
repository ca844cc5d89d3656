"""What a revocation changes in a snapshot: as little as possible, and enough that no open connection outlives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.policy.callers import RevokedCaller
from ringfence.xds import codec, types
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import ENDPOINTS, NOW, REGISTRY, TRAINER, model_of, snapshot_of
from tests.xds.test_compile import listeners
from tests.xds.trees import verdict

CALLER, SERVER = "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/shared/sa/registry"
STRANGER = "spiffe://example.test/ns/team-b/sa/notebook"
SERIAL = "00" + "e6" * 15
WHOLE = RevokedCaller(whole=True, serials=frozenset(), newest=5)
ONE = RevokedCaller(whole=False, serials=frozenset({SERIAL}), newest=5)


def revoked(key: str, instance: Instance, **callers: RevokedCaller) -> Snapshot:
    """The snapshot of a proxy while these are revoked: `CALLER`, `SERVER`, `STRANGER`."""
    model = replace(model_of(), revoked={globals()[name]: caller for name, caller in callers.items()})
    return compile_snapshot(model, model.workloads[key], instance, ENDPOINTS, now=NOW)


def changed(one: Snapshot, two: Snapshot) -> set[str]:
    """The names of resources that are new, changed or gone."""
    flat = [{(u, n): r.version for u, named in s.resources.items() for n, r in named.items()} for s in (one, two)]
    return {name for _, name in dict(flat[0].items() ^ flat[1].items())}


@pytest.mark.parametrize(("key", "instance"), [("shared/registry", REGISTRY), ("team-a/trainer", TRAINER)])
@pytest.mark.parametrize("caller", [WHOLE, ONE])
def test_a_revocation_of_somebody_whom_no_rule_means_changes_no_byte(
    key: str, instance: Instance, caller: RevokedCaller
):
    """The proxies' trees have no key for the stranger, whom they deny by default: nothing is pushed."""
    assert revoked(key, instance, STRANGER=caller) == snapshot_of(key, instance)


@pytest.mark.parametrize("caller", [WHOLE, ONE])
def test_at_a_server_policy_and_listener_change_and_nothing_else(caller: RevokedCaller):
    """The policy denies the next request; the chain that is another one now ends what is under way."""
    found = changed(snapshot_of("shared/registry", REGISTRY), revoked("shared/registry", REGISTRY, CALLER=caller))
    assert found == {"inbound/http", "inbound/http/deny", "inbound/rpc", "inbound/rpc/deny", "inbound/db"}


def test_every_revocation_makes_another_filter_chain():
    """A second caller, a second serial or the same caller again: what is open then must end too."""
    marks = {
        str(listeners(revoked("shared/registry", REGISTRY, CALLER=caller))["inbound/http"].filter_chains[0].metadata)
        for caller in (WHOLE, ONE, replace(WHOLE, newest=6), replace(ONE, serials=frozenset({SERIAL, "0" * 32})))
    }
    assert len(marks) == 4


def test_the_policy_denies_the_caller_by_name_and_one_certificate_by_serial():
    """Envoy writes a serial without its leading zero bytes."""
    for caller, serial, expected in (
        (WHOLE, "", "revoked@builtin"),
        (ONE, SERIAL[2:], "revoked@builtin"),
        (ONE, "01", "none@builtin"),
    ):
        assert _deny(revoked("shared/registry", REGISTRY, CALLER=caller), CALLER, serial) == expected
    assert _deny(revoked("shared/registry", REGISTRY, CALLER=WHOLE), STRANGER, "") == "none@builtin"


def test_towards_a_revoked_server_there_is_no_cluster_and_requests_are_told_so():
    """Another chain ends what is under way; the route answers by itself, and a connection finds no cluster."""
    before, after = snapshot_of("team-a/trainer", TRAINER), revoked("team-a/trainer", TRAINER, SERVER=WHOLE)
    towards = {f"outbound/registry.shared/{port}" for port in ("http", "rpc", "db")}
    assert changed(before, after) == towards
    assert before.named(types.CLUSTER).keys() - after.named(types.CLUSTER).keys() == towards
    assert before.named(types.ENDPOINT).keys() - after.named(types.ENDPOINT).keys() == towards
    assert before.named(types.LISTENER).keys() == after.named(types.LISTENER).keys()
    route = codec.unpack(after.named(types.ROUTE)["outbound/registry.shared/http"].any)
    answer = route.virtual_hosts[0].routes[0].direct_response
    assert answer.status == 503
    assert SERVER in answer.body.inline_string


def test_towards_a_server_with_one_certificate_revoked_only_open_connections_end():
    """Its proxy is offered again as soon as it shows another one."""
    before, after = snapshot_of("team-a/trainer", TRAINER), revoked("team-a/trainer", TRAINER, SERVER=ONE)
    assert changed(before, after) == {f"outbound/registry.shared/{port}" for port in ("http", "rpc", "db")}
    for url in (types.CLUSTER, types.ENDPOINT, types.ROUTE):
        assert before.type_version(url) == after.type_version(url)


@pytest.mark.parametrize(("key", "instance"), [("shared/registry", REGISTRY), ("team-a/trainer", TRAINER)])
def test_a_tainted_authority_and_its_end_change_every_chain_of_the_mesh_and_nothing_else(key: str, instance: Instance):
    """What was opened by its certificates is opened anew; ways out of the mesh show none of them."""
    plain = model_of()
    made = [
        compile_snapshot(replace(plain, tainted=ids), plain.workloads[key], instance, ENDPOINTS, now=NOW)
        for ids in (frozenset(), frozenset({"a"}), frozenset({"a", "b"}))
    ]
    mesh = {name for name in made[0].named(types.LISTENER) if name.startswith(("inbound/", "outbound/registry"))}
    assert changed(made[0], made[1]) == changed(made[1], made[2]) == mesh
    assert mesh


def test_every_inbound_chain_remembers_the_serial_first():
    """Also while nothing is revoked: a connection that is open when its certificate is revoked must be known by it."""
    for name, listener in listeners(snapshot_of("shared/registry", REGISTRY)).items():
        (first, *_) = listener.filter_chains[0].filters
        config: Any = codec.unpack(codec.encode(first.typed_config))
        (value,) = config.on_downstream_tls_handshake
        assert value.object_key == "ringfence.peer.serial", name
        assert value.read_only
        assert value.format_string.text_format_source.inline_string == "%DOWNSTREAM_PEER_SERIAL%"


def _deny(snapshot: Snapshot, caller: str, serial: str) -> str:
    """Which policy of the deny filter of the HTTP port speaks."""
    config = codec.unpack(snapshot.named(types.EXTENSION_CONFIG)["inbound/http/deny"].any)
    found = verdict(codec.unpack(codec.encode(config.typed_config)).matcher, caller, {":path": "/"}, serial)
    assert found is not None
    return found[0]
