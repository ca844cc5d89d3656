"""What a launcher chooses and writes: sockets, ports, bootstrap, environment, folder."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.run.bootstrap import bootstrap
from ringfence.broker.run.environment import workload_environment
from ringfence.broker.run.folder import RunFolder
from ringfence.broker.run.identity import split_der
from ringfence.broker.run.plan import Launch, ProxyPlan, Who, plan_proxy, socket_path
from ringfence.broker.run.ports import free_address, free_ports
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proxy.v1 import proxy_pb2
from ringfence.xds.instance import Instance
from ringfence.xds.locality import Locality
from tests import parts

LAUNCH = Launch("server.example:8443", "example.test", "/run/agent.sock")
RANGES = proxy_pb2.DescribeResponse(
    spiffe_id="spiffe://example.test/ns/team-a/sa/trainer",
    served=[proxy_pb2.Served(name="workers", port=10002, last=10101)],
    upstreams=[proxy_pb2.Upstream(key="ray.b/workers", env="RINGFENCE_UPSTREAM_RAY_WORKERS", first=10002, last=10101)],
)
DESCRIBED = proxy_pb2.DescribeResponse(
    spiffe_id="spiffe://example.test/ns/team-a/sa/trainer",
    egress=True,
    served=[proxy_pb2.Served(name="c10d", port=29500), proxy_pb2.Served(name="db", socket=".s.PGSQL.5432")],
    upstreams=[proxy_pb2.Upstream(key="registry.shared/http", env="RINGFENCE_UPSTREAM_REGISTRY_HTTP")],
)


def plan(launch: Launch = LAUNCH) -> ProxyPlan:
    """A proxy with a bit of everything."""
    return plan_proxy(Who("team-a", "trainer"), launch, DESCRIBED, inbound_host="127.0.0.1", socket_dir="/x/served")


def written(launch: Launch = LAUNCH, **options: Any) -> Any:
    """Its bootstrap."""
    return json.loads(bootstrap(plan(launch), admin_socket="/x/admin.sock", **options))


def clusters(config: Any) -> dict[str, Any]:
    """The static clusters by name."""
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


@pytest.mark.parametrize(
    ("text", "path"),
    [("/a/b", "/a/b"), ("unix:/a/b", "/a/b"), ("unix:///a/b", "/a/b"), ("b", f"{Path.cwd()}/b")],
)
def test_a_socket_has_three_spellings(text: str, path: str) -> None:
    """A path, and the two forms of the Workload Endpoint's standard."""
    assert socket_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix:a", "tcp://127.0.0.1:1", "unix://host/a", "unix:///a?b", "unix:///a#b"]
)
def test_anything_else_is_no_socket(text: str) -> None:
    """The error names the flag."""
    with pytest.raises(RingfenceError, match="--socket") as caught:
        socket_path(text)
    assert caught.value.kind is Kind.INVALID


def test_ports_are_free_different_and_below_the_kernels_own() -> None:
    """None is one that the kernel may hand to an outgoing connection in the next moment."""
    chosen = free_ports([(str(i), "127.0.0.1") for i in range(50)])
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    ports = [int(address.rpartition(":")[2]) for address in chosen.values()]
    assert len(set(ports)) == 50
    assert first <= 16_000 or max(ports) < first


@pytest.mark.parametrize("host", ["192.0.2.1", "localhost", "0.0.0.0", ""])
def test_an_inbound_host_that_is_not_ours_is_refused(host: str) -> None:
    """The error names the flag, and does not try a thousand ports."""
    with pytest.raises(RingfenceError, match="--inbound-host"):
        free_ports([("inbound http", host)])


def test_the_server_reads_from_the_node_what_was_chosen() -> None:
    """The metadata is what xds.instance takes."""
    one = plan()
    instance = Instance.parse(one.node_id, {"ringfence": one.metadata})

    assert one.node_id.startswith("team-a/trainer/")
    assert {f"{host}:{port}" for host, port in instance.inbound.values()} == set(one.inbound.values())
    assert instance.upstream.keys() == {"registry.shared/http"}
    assert instance.egress is not None
    assert instance.socket_dir == "/x/served"
    assert one.listeners.keys() == {*one.inbound.values(), *one.upstream.values(), one.egress}


def test_a_proxy_whose_agent_cuts_says_at_which_ports() -> None:
    """At those of which it judges connections; without such an agent it says nothing of it."""
    assert "cuts" not in plan().metadata
    ports = [proxy_pb2.Served(name=name, port=29500, protocol=name) for name in ("http", "grpc", "tcp", "postgres")]
    described = proxy_pb2.DescribeResponse(spiffe_id=DESCRIBED.spiffe_id, served=ports)
    launch = replace(LAUNCH, cuts=True)
    chosen = plan_proxy(Who("a", "b"), launch, described, inbound_host="127.0.0.1", socket_dir="/x")
    assert Instance.parse("n", {"ringfence": chosen.metadata}).cuts == {"tcp", "postgres"}


def test_the_server_must_prove_its_exact_id_and_we_ours() -> None:
    """TLS 1.3, our SVID by SDS, the SPIFFE validator of the agent, and one name that will do."""
    tls = clusters(written())["ringfence_server"]["transport_socket"]["typed_config"]["common_tls_context"]
    validation = tls["combined_validation_context"]

    assert tls["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert [secret["name"] for secret in tls["tls_certificate_sds_secret_configs"]] == [DESCRIBED.spiffe_id]
    assert validation["validation_context_sds_secret_config"]["name"] == "ALL"
    assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://example.test/ringfence/server"}}
    ]


def test_nothing_is_given_up_on_at_start() -> None:
    """A hold outlasts Envoy's 15 s: without `0s` it would start with no secret, or with no listener."""
    config = written()
    secrets = json.dumps(clusters(config)["ringfence_server"]["transport_socket"])

    assert secrets.count('"initial_fetch_timeout": "0s"') == 2
    assert config["dynamic_resources"]["lds_config"]["initial_fetch_timeout"] == "0s"
    assert config["dynamic_resources"]["cds_config"]["initial_fetch_timeout"] == "0s"


def test_no_secret_is_in_the_bootstrap_and_nobody_reaches_the_admin_page() -> None:
    """Keys come by SDS; the admin interface is a Unix socket of this user."""
    config = written()

    assert "PRIVATE" not in json.dumps(config)
    assert config["admin"]["address"] == {"pipe": {"path": "/x/admin.sock", "mode": 0o600}}


@pytest.mark.parametrize(
    ("server", "kind"),
    [("127.0.0.1:1", "STATIC"), ("[::1]:1", "STATIC"), ("server.example:1", "STRICT_DNS")],
)
def test_a_server_may_have_a_name(server: str, kind: str) -> None:
    """Envoy takes an IP in a STATIC cluster only."""
    cluster = clusters(written(Launch(server, "example.test", "/a.sock")))["ringfence_server"]

    assert cluster["type"] == kind


SEVERAL = Launch("10.0.0.1:1", "example.test", "/a.sock", ("10.0.0.2:2", "10.0.0.3:3"))


def test_a_proxy_has_every_server_and_uses_one_as_long_as_it_answers() -> None:
    """The first is that of its agent; the others follow in priority, and one failed connection is enough."""
    cluster = clusters(written(SEVERAL))["ringfence_server"]
    levels = cluster["load_assignment"]["endpoints"]

    assert [level.get("priority", 0) for level in levels] == [0, 1, 2]
    ports = [level["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] for level in levels]
    assert ports == [1, 2, 3]
    assert cluster["outlier_detection"]["consecutive_5xx"] == 1
    assert "outlier_detection" not in clusters(written(LAUNCH))["ringfence_server"]


@pytest.mark.envoy
@pytest.mark.slow
@pytest.mark.parametrize("launch", [LAUNCH, SEVERAL])
@pytest.mark.parametrize("state_of_the_world", [False, True])
def test_envoy_takes_the_bootstrap(tmp_path: Path, launch: Launch, *, state_of_the_world: bool) -> None:
    """Envoy itself reads every field, in both dialects."""
    path = tmp_path / "envoy.json"
    path.write_text(bootstrap(plan(launch), admin_socket=str(tmp_path / "a"), state_of_the_world=state_of_the_world))
    done = subprocess.run(
        [parts.envoy(), "--mode", "validate", "-c", str(path), "--disable-hot-restart"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_environment_keeps_what_is_not_ours() -> None:
    """The user's variables pass, an outer run's do not, and a served Unix socket has no port."""
    inherited = {"PATH": "/bin", "RINGFENCE_UPSTREAM_X_HTTP": "1", "RINGFENCE_EGRESS": "2", "RINGFENCE_PORT_Y": "3"}
    found = workload_environment(plan(), inherited)

    assert found["PATH"] == "/bin"
    assert {name for name in found if name.startswith(("RINGFENCE_UPSTREAM_", "RINGFENCE_PORT_"))} == {
        "RINGFENCE_UPSTREAM_REGISTRY_HTTP",
        "RINGFENCE_PORT_C10D",
    }
    assert found["RINGFENCE_EGRESS"].startswith("http://127.0.0.1:")


def test_the_folder_is_private_and_goes(short_path: Path) -> None:
    """0700 and 0600, and nothing afterwards."""
    with RunFolder(short_path) as folder:
        file = folder.write("envoy.json", "{}")
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.path, folder.sockets, file)]

    assert modes == [0o700, 0o700, 0o600]
    assert list(short_path.iterdir()) == []


def test_a_living_neighbour_is_not_swept_and_a_dead_one_is(short_path: Path) -> None:
    """The lock in a folder is held for as long as its owner lives, and no longer."""
    dead = short_path / "ringfence-run-dead"
    dead.mkdir()
    (dead / "lock").touch()
    fresh = short_path / "ringfence-run-fresh"
    fresh.mkdir()  # made this moment, its lock is still to come
    with RunFolder(short_path) as first, RunFolder(short_path) as second:
        assert first.path.exists()
        assert second.path.exists()
    assert list(short_path.iterdir()) == [fresh]


def test_a_folder_that_is_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    """A socket's path has 108 bytes: better a word now than a bind that fails later."""
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    with pytest.raises(RingfenceError, match="XDG_RUNTIME_DIR"), RunFolder(deep):
        pass
    assert list(deep.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The place is named."""
    with pytest.raises(RingfenceError, match="cannot make a private folder"), RunFolder(tmp_path / "missing"):
        pass


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_a_concatenation_of_certificates_is_taken_apart(contents: list[bytes]) -> None:
    """Whatever the lengths, what was put together comes apart again."""
    ders = [b"\x30" + _length(len(content)) + content for content in contents]

    assert split_der(b"".join(ders)) == ders


@given(st.binary(min_size=1, max_size=40))
def test_anything_else_is_no_chain(data: bytes) -> None:
    """Parts that add up to the whole, or our own error; never a hang."""
    with contextlib.suppress(RingfenceError):
        assert b"".join(split_der(data)) == data


def _length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([128 + len(octets)]) + octets


def test_a_port_of_somebody_else_is_not_chosen() -> None:
    """A port that is listened on is not free, even with its address open to reuse."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        chosen = free_ports([(str(i), "127.0.0.1") for i in range(20)])

        assert f"127.0.0.1:{taken.getsockname()[1]}" not in chosen.values()


def test_the_place_is_in_the_node_and_only_where_it_is_known() -> None:
    """Of a proxy, and in the workload's environment."""
    placed = replace(LAUNCH, locality=Locality("eu", "eu-1"))
    assert written(placed)["node"]["locality"] == {"region": "eu", "zone": "eu-1"}
    assert "locality" not in written()["node"]
    inherited = {"RINGFENCE_ZONE": "outer", "HOME": "/root"}
    assert workload_environment(plan(placed), inherited)["RINGFENCE_ZONE"] == "eu-1"
    assert "RINGFENCE_ZONE" not in workload_environment(plan(), inherited)


def test_a_range_keeps_its_numbers_on_an_address_of_its_own() -> None:
    """Whoever dials a peer by its port number finds it there, beside the same numbers of the workload itself."""
    made = plan_proxy(Who("team-a", "trainer"), LAUNCH, RANGES, inbound_host="127.0.0.1", socket_dir="/x/served")
    environment = workload_environment(made, {})
    host, _, ports = environment["RINGFENCE_UPSTREAM_RAY_WORKERS"].partition(":")

    assert ports == "10002-10101"
    assert host.startswith("127.")
    assert host != "127.0.0.1"
    assert environment["RINGFENCE_PORT_WORKERS"] == "10002-10101"
    assert made.metadata["upstream"] == {"ray.b/workers": f"{host}:10002"}
    assert Instance.parse("n", {"ringfence": made.metadata}).upstream == {"ray.b/workers": (host, 10002)}


def test_an_address_with_a_taken_port_is_passed_over() -> None:
    """All of the range must be free; where that is nowhere, the error names the range."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere:  # takes the number on every address
        taken = everywhere.getsockname()[1]
        with pytest.raises(RingfenceError, match=f"has the ports {taken - 1}-{taken} free") as caught:
            free_address(range(taken - 1, taken + 1))
    assert caught.value.kind is Kind.EXHAUSTED
