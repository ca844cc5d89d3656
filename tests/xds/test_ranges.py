"""A range of ports costs one listener and one cluster on each side, and knows its numbers."""

from __future__ import annotations

from typing import Any

from ringfence.xds import codec, types
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import INTENT, snapshot_of
from tests.xds.test_routing import read

RAY = """---
kind: Workload
metadata: {name: ray, namespace: shared}
spec: {match: [{unix.uid: 1044}], serves: [{name: workers, ports: 10002-10201, protocol: tcp}]}
---
kind: Allow
metadata: {name: workers, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: ray, namespace: shared, port: workers}]
  owner: ml
  reason: test
"""
SINGLY = RAY.replace(
    "[{name: workers, ports: 10002-10201, protocol: tcp}]",
    "[" + ", ".join(f"{{name: w{n}, port: {n}, protocol: tcp}}" for n in range(10002, 10202)) + "]",
).replace(
    "[{workload: ray, namespace: shared, port: workers}]",
    "[" + ", ".join(f"{{workload: ray, namespace: shared, port: w{n}}}" for n in range(10002, 10202)) + "]",
)
SERVER = Instance("s", inbound={"workers": ("10.0.0.1", 15001)})
CALLER = Instance("c", upstream={"ray.shared/workers": ("127.77.1.2", 10002)})
WHERE = "outbound/ray.shared/workers"


def sent(snapshot: Snapshot) -> int:
    """Bytes of all resources."""
    return sum(len(one.any) for named in snapshot.resources.values() for one in named.values())


def ports_of(listener: Any) -> list[tuple[str, int]]:
    """Where it listens."""
    more = [one.address for one in listener.additional_addresses]
    return [(one.socket_address.address, one.socket_address.port_value) for one in (listener.address, *more)]


def test_a_caller_listens_on_every_number_and_says_which_was_dialled():
    """One listener and one cluster."""
    snapshot = snapshot_of("team-a/trainer", CALLER, INTENT + RAY)
    listener = read(snapshot, types.LISTENER, WHERE)
    assert ports_of(listener) == [("127.77.1.2", number) for number in range(10002, 10202)]
    dialled = codec.unpack(listener.filter_chains[0].filters[0].typed_config.SerializeToString())
    assert dialled.on_new_connection[0].object_key == "envoy.network.upstream_server_name"
    assert list(snapshot.named(types.CLUSTER)) == [WHERE]


def test_the_called_side_takes_its_own_numbers_and_no_other():
    """By the SNI, before a byte is read; the workload is connected to on loopback and nowhere else."""
    snapshot = snapshot_of("shared/ray", SERVER, INTENT + RAY)
    chain = read(snapshot, types.LISTENER, "inbound/workers").filter_chains[0]
    assert list(chain.filter_chain_match.server_names) == [str(number) for number in range(10002, 10202)]
    remembered = codec.unpack(chain.filters[0].typed_config.SerializeToString())
    said = remembered.on_downstream_tls_handshake[1].format_string.text_format_source.inline_string
    assert said == "127.0.0.1:%REQUESTED_SERVER_NAME%"
    cluster = read(snapshot, types.CLUSTER, "app/workers")
    assert cluster.type == cluster.ORIGINAL_DST


def test_behind_walls_the_number_goes_along_in_heads():
    """Where a relay stands on each side: the caller's listener is told it, and tells it the called side's."""
    caller = Instance("c", upstream={"ray.shared/workers": ("/run/x/to-0", 0)})
    listener = read(snapshot_of("team-a/trainer", caller, INTENT + RAY), types.LISTENER, WHERE)
    assert listener.address.pipe.path == "/run/x/to-0"
    assert not listener.additional_addresses
    assert [one.name for one in listener.listener_filters] == ["envoy.filters.listener.proxy_protocol"]

    server = Instance("s", inbound={"workers": ("10.0.0.1", 15001)}, application={"workers": ("/run/x/at-0", 0)})
    snapshot = snapshot_of("shared/ray", server, INTENT + RAY)
    chain = read(snapshot, types.LISTENER, "inbound/workers").filter_chains[0]
    proxy = codec.unpack(chain.filters[-1].typed_config.SerializeToString())
    (told,) = proxy.proxy_protocol_tlvs
    assert told.format_string.text_format_source.inline_string == "%REQUESTED_SERVER_NAME%"
    cluster = read(snapshot, types.CLUSTER, "app/workers")
    assert cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.pipe.path == "/run/x/at-0"
    head = codec.unpack(cluster.transport_socket.typed_config.SerializeToString())
    assert list(head.config.pass_through_tlvs.tlv_type) == [told.type]


def test_a_range_is_a_fraction_of_as_many_ports():
    """200 ports by themselves need 200 listeners and clusters on each side."""
    numbers = range(10002, 10202)
    server = Instance("s", inbound={f"w{n}": ("10.0.0.1", n) for n in numbers})
    caller = Instance("c", upstream={f"ray.shared/w{n}": ("127.0.0.1", n) for n in numbers})
    for key, one, many in (("shared/ray", SERVER, server), ("team-a/trainer", CALLER, caller)):
        assert sent(snapshot_of(key, one, INTENT + RAY)) * 20 < sent(snapshot_of(key, many, INTENT + SINGLY)), key
