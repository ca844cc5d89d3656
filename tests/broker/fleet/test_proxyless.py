"""Libraries that are their own proxies: several streams a process, of which the one of its servers says where it is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import Proxy
from ringfence.certs.revocation import Revocations, RevokedSerial
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.dialect import GRPC
from ringfence.xds.discovery import Node, SotwRequest
from ringfence.xds.instance import Instance
from ringfence.xds.proxyless.names import listener_name
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import LISTENER, ROUTE
from tests.broker.fleet.world import MESH, NOW, PULL, Clock, FakeCall, FakeProxy, MemoryLog, model

GRPC_MESH = MESH.replace("protocol: http", "protocol: grpc")
AT = ("127.0.0.1", 8080)
SERVED = ("shared/registry", "http")


@pytest.fixture
async def fleet() -> Fleet:
    """A mesh whose registry serves a gRPC port; its clock stands still."""
    made = Fleet(compile_snapshot, MemoryLog(), clock=Clock())
    await made.restore()
    made.apply(model(GRPC_MESH + PULL))
    return made


def library(fleet: Fleet, key: str, node_id: str = "n1") -> Proxy:
    """A stream of a process, which has asked for nothing yet."""
    workload = fleet.scopes.model.workloads[key]  # type: ignore[union-attr]
    caller = Caller(workload.spiffe_id, workload, NOW + timedelta(hours=1), "")
    instance = Instance.parse(node_id, {"ringfence": {"inbound": {"http": "127.0.0.1:8080"}}}, proxyless=True)
    return fleet.join(caller, instance, FakeCall(), SotwStream(GRPC))


def offered(fleet: Fleet) -> list[str]:
    """Where others are told that the registry is."""
    return [f"{one.host}:{one.port}" for one in fleet._offers.endpoints.of(*SERVED)]


async def test_a_server_is_offered_once_it_asks_for_its_listener_and_no_longer_than_that(fleet: Fleet) -> None:
    """A process that only calls serves nothing, whatever its bootstrap says that it would."""
    client, server = library(fleet, "shared/registry"), library(fleet, "shared/registry")
    await fleet.receive(client, SotwRequest(LISTENER, ("registry.shared:http",)))
    assert offered(fleet) == []

    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(AT),)))
    assert offered(fleet) == ["127.0.0.1:8080"]

    fleet.leave(client)
    assert fleet._offers.endpoints.next_lapse() is None, "the server is there as ever"

    await fleet.receive(server, SotwRequest(LISTENER, ()))
    assert offered(fleet) == [], "it has stopped serving"


async def test_a_server_that_vanishes_has_the_grace_of_a_proxy(fleet: Fleet) -> None:
    """It may be back at once."""
    server = library(fleet, "shared/registry")
    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(("0.0.0.0", 8080)),)))
    fleet.leave(server)
    assert offered(fleet) == ["127.0.0.1:8080"]
    assert fleet._offers.endpoints.next_lapse() is not None


async def test_a_port_that_becomes_one_of_grpc_is_offered_then(fleet: Fleet) -> None:
    """What a library asked for before the intent knew of it counts from the moment that it does."""
    fleet.apply(model(MESH + PULL))
    server = library(fleet, "shared/registry")
    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(AT),)))
    assert offered(fleet) == []
    fleet.apply(model(GRPC_MESH + PULL))
    assert offered(fleet) == ["127.0.0.1:8080"]


async def test_proxies_are_told_where_a_library_serves_and_libraries_where_a_proxy_does(fleet: Fleet) -> None:
    """One table of endpoints for both."""
    server = library(fleet, "shared/registry")
    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(AT),)))
    FakeProxy(fleet, "shared/registry", node="n2", inbound={"http": "127.0.0.1:4002"})
    assert offered(fleet) == ["127.0.0.1:4002", "127.0.0.1:8080"]


async def test_a_library_is_in_step_when_it_holds_what_it_asks_for(fleet: Fleet) -> None:
    """Not what it might ask for: it never asks for everything."""
    client = library(fleet, "team-a/trainer")
    await fleet.receive(client, SotwRequest(LISTENER, ("registry.shared:http",)))
    assert client.state == "STALE"
    nonce, version = client.stream._machine._types[LISTENER].nonce, client.stream.snapshot.type_version(LISTENER)  # type: ignore[attr-defined]
    await fleet.receive(client, SotwRequest(LISTENER, ("registry.shared:http",), nonce, version))
    assert client.state == "SYNCED"


async def test_a_library_hears_when_a_revoked_certificate_has_ended(fleet: Fleet) -> None:
    """It denied the whole identity for it; a proxy, which knows serials, is sent nothing."""
    server = library(fleet, "shared/registry")
    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(AT),)))
    proxy = await FakeProxy(fleet, "shared/registry", node="n2").start()
    ends = NOW + timedelta(hours=1)
    trainer = "spiffe://example.test/ns/team-a/sa/trainer"
    taken_back = RevokedSerial("7".zfill(32), trainer, "key", "node", int(ends.timestamp()), 5, "keyCompromise", "x")
    fleet.revoke(Revocations.of([taken_back]))
    await proxy.settle()
    assert fleet.tick() == ends
    (routes,) = server.stream.snapshot.named(ROUTE)
    before, sent = server.stream.snapshot.type_version(ROUTE), len(proxy.call.sent)

    fleet._clock.forward(3600)  # type: ignore[attr-defined]
    assert fleet.tick() is None
    await proxy.settle()
    assert server.stream.snapshot.type_version(ROUTE) != before
    assert list(server.stream.snapshot.named(ROUTE)) == [routes], "no listener names others, so nothing is drained"
    assert len(proxy.call.sent) == sent


async def test_what_grpc_cannot_say_is_shown_to_the_operator(fleet: Fleet) -> None:
    """In the row of the process, while it refuses nothing."""
    fleet.apply(model(GRPC_MESH + PULL.replace("spec:\n", "spec:\n  mode: shadow\n")))
    server = library(fleet, "shared/registry")
    await fleet.receive(server, SotwRequest(LISTENER, (listener_name(AT),)))
    (row,) = fleet.list_proxies()
    assert row.detail == "team-a/pull: a rule in shadow mode is not judged"


def test_a_library_is_known_by_its_user_agent() -> None:
    """As every language's calls itself; an Envoy is none."""
    assert Node("n", "", {}, "gRPC C-core linux Python").is_grpc
    assert Node("n", "", {}, "gRPC Go").is_grpc
    assert not Node("n", "", {}, "envoy").is_grpc
    assert not Node("n", "").is_grpc
