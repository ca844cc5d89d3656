"""A captured workload's proxy: its sockets for the workload within, its own outside, and an end for all else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringfence.xds import codec, types
from ringfence.xds.capture import CAPTURE, DNS
from ringfence.xds.instance import Capture, Instance
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import INTENT, REGISTRY, TRAINER, snapshot_of
from tests.xds.test_ranges import CALLER, RAY, SERVER, ports_of
from tests.xds.test_routing import read

NETNS = "/proc/7/fd/9"
WITHIN = Capture(NETNS, ("127.0.0.1", 14001), ("127.0.0.1", 14053))


def captured(key: str, instance: Instance, text: str = INTENT) -> Snapshot:
    """The snapshot of that proxy with its workload in a namespace of its own."""
    return snapshot_of(key, replace(instance, capture=WITHIN), text)


def namespaces(listener: Any) -> set[str]:
    """Where its sockets are opened."""
    every = [listener.address, *(more.address for more in listener.additional_addresses)]
    return {address.socket_address.network_namespace_filepath for address in every}


def test_all_that_the_workload_calls_is_in_its_namespace() -> None:
    """Upstreams, the forward proxy, the catch-all and the DNS filter; no other name is there."""
    snapshot = captured("team-a/trainer", TRAINER)
    upstreams = {f"outbound/{name}" for name in TRAINER.upstream}
    twins = {f"capture/{name}" for name in TRAINER.upstream}
    assert set(snapshot.named(types.LISTENER)) == upstreams | twins | {"egress", CAPTURE, DNS}
    for name in snapshot.named(types.LISTENER):
        assert namespaces(read(snapshot, types.LISTENER, name)) == {NETNS}


def test_what_others_call_is_not() -> None:
    """The mesh reaches its ports outside; the proxy reaches the workload within, by loopback."""
    snapshot = captured("shared/registry", REGISTRY)
    assert namespaces(read(snapshot, types.LISTENER, "inbound/http")) == {""}
    source = read(snapshot, types.CLUSTER, "app/http").upstream_bind_config.source_address
    assert (source.address, source.network_namespace_filepath) == ("127.0.0.1", NETNS)


def test_a_range_of_ports_is_connected_to_within() -> None:
    """Its cluster has no endpoints of its own: the connection says which number."""
    snapshot = captured("shared/ray", SERVER, INTENT + RAY)
    source = read(snapshot, types.CLUSTER, "app/workers").upstream_bind_config.source_address
    assert source.network_namespace_filepath == NETNS


def test_a_unix_socket_needs_no_namespace() -> None:
    """A path is the same on both sides."""
    assert not read(captured("shared/registry", REGISTRY), types.CLUSTER, "app/db").HasField("upstream_bind_config")


def test_a_twin_is_the_upstream_under_the_address_that_is_dialled() -> None:
    """It binds nothing, and has the filters and what they need."""
    snapshot = captured("team-a/trainer", TRAINER)
    own, twin = (read(snapshot, types.LISTENER, f"{kind}/registry.shared/http") for kind in ("outbound", "capture"))
    assert not twin.bind_to_port.value
    ((address, number),) = ports_of(twin)
    assert address.startswith("240.")
    assert number == 8080
    assert list(twin.filter_chains) == list(own.filter_chains)
    needs = [snapshot.named(types.LISTENER)[f"{kind}/registry.shared/http"].needs for kind in ("outbound", "capture")]
    assert needs[0] == needs[1]


def test_a_range_is_dialled_under_its_own_numbers() -> None:
    """All of them, at one virtual address."""
    twin = read(captured("team-a/trainer", CALLER, INTENT + RAY), types.LISTENER, "capture/ray.shared/workers")
    assert [number for _, number in ports_of(twin)] == list(range(10002, 10202))
    assert len({address for address, _ in ports_of(twin)}) == 1


def test_what_is_allowed_later_is_dialled_without_a_restart() -> None:
    """A launcher chooses ports on loopback once; a name needs none."""
    snapshot = captured("team-a/trainer", Instance("t"))
    assert "outbound/registry.shared/http" not in snapshot.named(types.LISTENER)
    assert not read(snapshot, types.LISTENER, "capture/registry.shared/http").bind_to_port.value
    assert "outbound/registry.shared/http" in snapshot.named(types.CLUSTER)


def test_what_no_twin_takes_goes_nowhere() -> None:
    """Each chain's only filter leads to a cluster that is not there; nothing waits for a first byte."""
    snapshot = captured("team-a/trainer", TRAINER)
    listener = read(snapshot, types.LISTENER, CAPTURE)
    assert listener.use_original_dst.value
    assert not listener.listener_filters
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        (filter_,) = chain.filters
        proxy = codec.unpack(filter_.typed_config.SerializeToString())
        assert proxy.cluster not in snapshot.named(types.CLUSTER)
        assert not proxy.upstream_connect_mode


def test_metadata_services_are_refused_by_a_rule_of_their_own() -> None:
    """An operator sees in the record that no Allow would help."""
    chain, *_ = read(captured("team-a/trainer", TRAINER), types.LISTENER, CAPTURE).filter_chains
    assert chain.name == "forbidden-address@builtin"
    assert "169.254.0.0" in {network.address_prefix for network in chain.filter_chain_match.prefix_ranges}


def test_only_names_that_may_be_reached_have_an_answer() -> None:
    """No resolver stands behind the filter: a name that is not here is a name that is not."""
    (filter_,) = read(captured("team-a/trainer", TRAINER), types.LISTENER, DNS).listener_filters
    config = codec.unpack(filter_.typed_config.SerializeToString())
    table = config.server_config.inline_dns_table
    assert [domain.name for domain in table.virtual_domains] == ["hub.example", "registry.shared.mesh"]
    assert not config.HasField("client_config")


def test_who_does_not_ask_for_it_has_none_of_it() -> None:
    """Neither the catch-all nor a DNS filter."""
    assert not {CAPTURE, DNS} & set(snapshot_of("team-a/trainer", TRAINER).named(types.LISTENER))
