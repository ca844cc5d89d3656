"""The rules learned by measurement (docs/rules.md), where the server itself is asked, or must end what is open."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cryptography import x509

from ringfence.agent.v1 import agent_pb2
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from ringfence.proxy.v1 import proxy_pb2
from ringfence.xds import codec
from ringfence.xds.types import LISTENER
from tests.e2e.identities import Domain, Identity
from tests.e2e.learned import CLIENT, NOTEBOOK, code_of
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import closed
from tests.e2e.stack import TRUST_DOMAIN, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("rules_learned_server")]

AGENT = f"spiffe://{TRUST_DOMAIN}/ringfence/agent/x"
_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
REVOKED = """\
---
kind: Deny
metadata: {name: stop, namespace: shared}
spec:
  from: [{workload: client, namespace: team-a}]
  to: [{workload: web, namespace: shared, port: db}]
  owner: ml
  reason: no longer
"""


def channel(stack: Stack, identity: Identity) -> grpc.Channel:
    """To the server's port, with that certificate."""
    bundle = (stack.data_dir / "bundle.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(bundle, identity.key, identity.chain)
    options = (("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1))
    return grpc.secure_channel(stack.listen, credentials, options)


def answers(open_channel: grpc.Channel, waiting: threading.Event) -> dict[str, grpc.StatusCode]:
    """How every call that demands a certificate is answered."""

    def kept_open() -> Iterator[bytes]:
        yield first()
        waiting.wait(100)

    proxy = Client(open_channel, service_of(proxy_pb2, "Proxy"))  # type: ignore[arg-type]  # any channel will do
    agent = Client(open_channel, service_of(agent_pb2, "Agent"))  # type: ignore[arg-type]
    return {
        "describe": code_of(lambda: proxy.Describe(proxy_pb2.DescribeRequest(), timeout=30)),
        "ads": code_of(lambda: _first_of(open_channel.stream_stream(_ADS, None, None)(kept_open(), timeout=30))),
        "logs": code_of(lambda: open_channel.unary_unary(_LOGS, None, None)(b"", timeout=30)),
        "agent": code_of(lambda: _first_of(agent.Connect(iter([agent_pb2.AgentMessage()]), timeout=30))),
    }


def first() -> bytes:
    """The first request of a proxy of the client's."""
    request = codec.message("envoy.service.discovery.v3.DiscoveryRequest")
    return codec.encode(request(type_url=LISTENER, node={"id": "team-a/client/probe", "cluster": CLIENT}))


@pytest.mark.parametrize(
    "uris",
    [(CLIENT, NOTEBOOK), (NOTEBOOK, CLIENT), (AGENT, CLIENT), (CLIENT, AGENT), (f"{CLIENT}\n",), ()],
    ids=["workloads", "reversed", "agent-first", "agent-second", "newline", "none"],
)
def test_the_server_knows_nobody_of_several_names(stack: Stack, uris: tuple[str, ...]) -> None:
    """Rule 4: signed by the server's own key, and still no proxy, no reporter and no agent to the server."""
    waiting = threading.Event()
    with channel(stack, stack.authority().forge(*uris, dns=("x.internal",))) as opened:
        found = answers(opened, waiting)
        waiting.set()
    assert set(found.values()) == {grpc.StatusCode.UNAUTHENTICATED}, found


def test_the_server_knows_a_workload_of_one_name(stack: Stack) -> None:
    """Rule 4: the same calls with one name are a workload's, which may do what workloads may, and is no agent."""
    waiting = threading.Event()
    with channel(stack, stack.authority().forge(CLIENT)) as opened:
        found = answers(opened, waiting)
        waiting.set()
    assert found.pop("agent") == grpc.StatusCode.PERMISSION_DENIED
    assert set(found.values()) == {grpc.StatusCode.OK}, found


def test_the_server_shakes_no_hand_of_another_authority(stack: Stack) -> None:
    """Rule 4: one's own authority for our trust domain gets no further than the handshake."""
    with channel(stack, Domain(TRUST_DOMAIN).forge(CLIENT)) as opened, pytest.raises(grpc.RpcError) as failed:
        opened.unary_unary(_LOGS, None, None)(b"", timeout=30)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_server_shows_one_uri_and_the_names_that_grpc_needs(stack: Stack) -> None:
    """Rule 11: what it presents is an SVID, and names hosts and addresses besides."""
    host, _, port = stack.listen.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(stack.data_dir / "bundle.pem"))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{TRUST_DOMAIN}/ringfence/server"]
    assert {SERVER_NAME, "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_a_denial_ends_the_connection_that_is_open(stack: Stack) -> None:
    """Rule 16: network RBAC would let it live; the changed chain drains within the second that `run` gives it."""
    stack.workload("shared/web")
    client = stack.workload("team-a/client")
    with socket.create_connection(("127.0.0.1", client.upstream("WEB_DB")), timeout=30) as connection:
        connection.sendall(b"rows")
        assert connection.recv(16) == b"rows"
        try:
            stack.apply(stack.intent + REVOKED)
            assert closed(connection)
        finally:
            stack.apply(stack.intent)
    until(stack.in_step, "every proxy in step")


def test_a_server_that_ends_says_unavailable_and_costs_no_request(stack: Stack) -> None:
    """Rule 9: its streams end with UNAVAILABLE, never OK, and proxies go on with what they have."""
    stack.workload("shared/web")
    client, waiting = stack.workload("team-a/client"), threading.Event()

    def kept_open() -> Iterator[bytes]:
        yield first()
        waiting.wait(100)

    identity = stack.authority().issue(SpiffeId.parse(CLIENT))
    with channel(stack, identity) as opened, Caller(client.upstream("WEB_HTTP")) as caller:
        stream = opened.stream_stream(_ADS, None, None)(kept_open())
        _first_of(stream)
        stack.server.send_signal(signal.SIGTERM)
        ended = code_of(lambda: list(stream))
        waiting.set()
        assert stack.server.wait(30) == 0
        assert ended == grpc.StatusCode.UNAVAILABLE
        assert caller.ask("GET", "/public/a").status == 200
        assert caller.ask("GET", "/none").status == 403


def _first_of(stream: Any) -> Any:
    return next(stream)
