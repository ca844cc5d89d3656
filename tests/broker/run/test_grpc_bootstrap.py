"""The bootstrap of a gRPC library: what is in it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.broker.cli.grpc_bootstrap import command
from ringfence.broker.run.grpc_bootstrap import Bootstrap, node_of_host, parse_serve
from ringfence.broker.run.library import needing_a_proxy, plan_library
from ringfence.broker.run.plan import Launch, Who
from ringfence.broker.svidfiles.wanted import Wanted
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proxy.v1 import proxy_pb2
from ringfence.xds.locality import Locality

FILES = Path("/run/svid")
LAUNCH = Launch("10.0.0.1:8443", "example.test", "/run/agent.sock", ("10.0.0.2:8443",))


def test_it_names_servers_files_and_addresses_and_holds_no_secret():
    """Mutual TLS to every server, with the files that the mesh is spoken with too."""
    made = json.loads(Bootstrap(["a:1", "b:2"], "n", FILES, "spiffe://d/x", {"rpc": "10.0.0.7:1"}).text())
    assert [server["server_uri"] for server in made["xds_servers"]] == ["dns:///a:1", "dns:///b:2"]
    assert {creds["type"] for server in made["xds_servers"] for creds in server["channel_creds"]} == {"tls"}
    assert made["node"]["cluster"] == "spiffe://d/x"
    assert made["node"]["metadata"] == {"ringfence": {"inbound": {"rpc": "10.0.0.7:1"}}}
    provider = made["certificate_providers"]["ringfence"]["config"]
    assert provider["private_key_file"] == "/run/svid/key.pem"
    assert provider["spiffe_bundle_map_file"] == "/run/svid/bundle-map.json"
    assert made["server_listener_resource_name_template"].count("%s") == 1


def test_without_a_bundle_map_none_is_named():
    """GRPC would refuse every handshake for a file that is not there."""
    made = json.loads(Bootstrap(["a:1"], "n", FILES, wanted=Wanted()).text())
    assert "spiffe_bundle_map_file" not in made["certificate_providers"]["ringfence"]["config"]


@pytest.mark.parametrize("missing", [{"cert": ""}, {"key": ""}, {"bundle": ""}])
def test_three_files_are_needed(missing: dict[str, str]):
    """Without one of them there is no mutual TLS."""
    with pytest.raises(RingfenceError, match="a certificate, a key and a bundle"):
        Bootstrap(["a:1"], "n", FILES, wanted=Wanted(**missing))


def test_a_server_is_needed():
    """`--server ,` names none."""
    with pytest.raises(RingfenceError, match="no server"):
        Bootstrap(["a:1", ""], "n", FILES)


def test_served_ports_are_read_by_name():
    """IPv6 as well."""
    assert parse_serve(["rpc=10.0.0.7:8081", "b=[fd00::1]:2"]) == {"rpc": "10.0.0.7:8081", "b": "[fd00::1]:2"}


@pytest.mark.parametrize(
    "texts", [["rpc"], ["rpc=host:1"], ["rpc=0.0.0.0:1"], ["rpc=10.0.0.7:0"], ["=10.0.0.7:1"], ["rpc=1.2.3.4:1"] * 2]
)
def test_what_others_cannot_be_sent_to_is_refused(texts: list[str]):
    """A name, all addresses, no port, no name, twice the same."""
    with pytest.raises(RingfenceError) as caught:
        parse_serve(texts)
    assert caught.value.kind is Kind.INVALID


def test_two_processes_of_a_host_are_two_nodes():
    """The server tells them apart by it."""
    assert node_of_host() != node_of_host()


DESCRIBED = proxy_pb2.DescribeResponse(
    spiffe_id="spiffe://example.test/ns/a/sa/b",
    egress=True,
    served=[
        proxy_pb2.Served(name="rpc", port=8081, protocol="grpc"),
        proxy_pb2.Served(name="db", socket=".s", protocol="postgres"),
        proxy_pb2.Served(name="web", port=80, protocol="http"),
    ],
    upstreams=[
        proxy_pb2.Upstream(key="registry.shared/rpc", env="RINGFENCE_UPSTREAM_REGISTRY_RPC", protocol="grpc"),
        proxy_pb2.Upstream(key="hub.shared/https", env="RINGFENCE_UPSTREAM_HUB_HTTPS", protocol="grpc", external=True),
        proxy_pb2.Upstream(key="db.shared/db", env="RINGFENCE_UPSTREAM_DB_DB", protocol="tcp"),
    ],
)


def test_a_library_serves_at_the_workloads_own_numbers_and_dials_by_name():
    """Only gRPC on numbers; all else is said to need a proxy."""
    plan = plan_library(Who("a", "b"), LAUNCH, DESCRIBED, inbound_host="10.0.0.7", socket_dir=Path("/x"))
    assert plan.inbound == {"rpc": "10.0.0.7:8081"}
    assert plan.upstream == {"registry.shared/rpc": "xds:///registry.shared:rpc"}
    assert plan.environment == {"RINGFENCE_UPSTREAM_REGISTRY_RPC": "registry.shared/rpc"}
    assert plan.egress == ""
    assert list(needing_a_proxy(DESCRIBED)) == [
        "port db, served on the Unix socket .s, needs a proxy",
        "port web, served by http, needs a proxy",
        "hub.shared/https, outside the mesh, needs a proxy",
        "db.shared/db, which speaks tcp, needs a proxy",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_a_host_that_callers_cannot_be_sent_to_is_refused(host: str):
    """As for a proxy."""
    with pytest.raises(RingfenceError) as caught:
        plan_library(Who("a", "b"), LAUNCH, DESCRIBED, inbound_host=host, socket_dir=Path("/x"))
    assert caught.value.kind is Kind.INVALID


def test_a_librarys_node_says_where_it_runs():
    """As the proxy's does."""
    made = json.loads(Bootstrap(["a:1"], "n", FILES, locality=Locality("", "eu-1")).text())
    assert made["node"]["locality"] == {"zone": "eu-1"}
    assert "locality" not in json.loads(Bootstrap(["a:1"], "n", FILES).text())["node"]


def test_the_command_is_told_where_the_process_runs():
    """By its flags; a place that is none is refused."""
    asked = ["--server", "a:1", "--dir", "/run/svid", "--region", "eu", "--zone"]
    told = CliRunner().invoke(command, [*asked, "eu-1"], catch_exceptions=False)
    assert json.loads(told.stdout)["node"]["locality"] == {"region": "eu", "zone": "eu-1"}
    with pytest.raises(RingfenceError):
        CliRunner().invoke(command, [*asked, "eu 1"], catch_exceptions=False)
