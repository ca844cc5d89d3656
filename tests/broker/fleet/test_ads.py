"""ADS and Describe over mutual TLS: who is served, what, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.broker.fleet import ads as ads_module
from ringfence.broker.fleet.ads import ADS, ProxyApi
from ringfence.broker.fleet.door import Door
from ringfence.broker.fleet.farewell import let_go
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.status import hidden
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.proto.client import Client
from ringfence.proto.lane import Lane
from ringfence.proto.service import service_of
from ringfence.proxy.v1 import proxy_pb2
from ringfence.xds.codec import message
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER
from tests.broker.fleet.tls import Identities
from tests.broker.fleet.world import MESH, PULL, MemoryLog, compiled, model

TRAINER, REGISTRY = "/ns/team-a/sa/trainer", "/ns/shared/sa/registry"


def wall() -> datetime:
    """TLS judges certificates by the real clock, so these tests do too."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def identities() -> Identities:
    """One authority for the module."""
    return Identities()


@pytest.fixture
async def world(identities: Identities, tmp_path: Path) -> AsyncIterator[tuple[Fleet, int]]:
    """A fleet behind a lane that listens with TLS, and its port."""
    fleet = Fleet(compiled, MemoryLog(), clock=wall)
    await fleet.restore()
    context = identities.server_context(tmp_path)
    lane = Lane(ProxyApi(fleet, wall).methods(), on_error=hidden)
    port = await lane.listen_tcp("127.0.0.1", 0, lambda: context)
    yield fleet, port
    await lane.close()


class AdsCall:
    """One stream of a grpc.aio client."""

    def __init__(self, channel: grpc.aio.Channel, variant: str = "Delta") -> None:
        name = "DeltaAggregatedResources" if variant == "Delta" else "StreamAggregatedResources"
        prefix = f"envoy.service.discovery.v3.{'Delta' if variant == 'Delta' else ''}Discovery"
        self.request: Any = message(f"{prefix}Request")
        self.call = channel.stream_stream(
            ADS + name, lambda m: m.SerializeToString(), message(f"{prefix}Response").FromString
        )()

    async def ask(self, **fields: Any) -> None:
        """Send a request."""
        await self.call.write(self.request(**fields))

    async def read(self) -> Any:
        """The next response, or the failure that ended the call."""
        async with asyncio.timeout(30):
            answer = await self.call.read()
            if answer is grpc.aio.EOF:
                raise RuntimeError(await self.call.code(), await self.call.details())
            return answer

    async def code(self) -> grpc.StatusCode:
        """How the call ended."""
        async with asyncio.timeout(30):
            code: grpc.StatusCode = await self.call.code()
            return code


@asynccontextmanager
async def stream(
    identities: Identities, port: int, path: str | None, variant: str = "Delta", **options: Any
) -> AsyncIterator[AdsCall]:
    """An ADS stream of the workload at *path*."""
    async with identities.channel(port, path, **options) as channel:
        yield AdsCall(channel, variant)


def node(node_id: str = "n1", cluster: str = "", **metadata: Any) -> dict[str, Any]:
    """The node of a first request."""
    return {"id": node_id, "cluster": cluster, "metadata": {"ringfence": metadata}}


@pytest.mark.parametrize("variant", ["Delta", "Sotw"])
async def test_a_proxy_gets_what_its_certificate_entitles_it_to(
    world: tuple[Fleet, int], identities: Identities, variant: str
) -> None:
    """Both variants: clusters at once, endpoints on request, a change by push."""
    fleet, port = world
    fleet.apply(model(MESH + PULL))
    names = "resource_names_subscribe" if variant == "Delta" else "resource_names"
    async with stream(identities, port, TRAINER, variant) as ads:
        await ads.ask(type_url=CLUSTER, node=node())
        clusters = await ads.read()
        await ads.ask(type_url=ENDPOINT, **{names: ["shared/registry/http"]})
        endpoints = await ads.read()
        async with stream(identities, port, REGISTRY, variant) as other:
            await other.ask(type_url=LISTENER, node=node(inbound={"http": "127.0.0.1:4001"}))
            await other.read()
            pushed = await ads.read()

    assert b"shared/registry/http" in clusters.SerializeToString()
    assert b"nobody" in endpoints.SerializeToString()
    assert pushed.type_url == ENDPOINT
    assert b"127.0.0.1:4001" in pushed.SerializeToString()


async def test_nobody_is_served_before_the_intent_is_there(world: tuple[Fleet, int], identities: Identities) -> None:
    """UNAVAILABLE: the proxy comes again, and keeps what it has until then."""
    _, port = world
    async with stream(identities, port, TRAINER) as ads:
        assert await ads.code() is grpc.StatusCode.UNAVAILABLE


async def test_no_certificate_no_stream(world: tuple[Fleet, int], identities: Identities) -> None:
    """A server's certificate alone proves nothing about the client."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, None) as ads:
        assert await ads.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("path", ["/ns/team-a/sa/nobody", "/ringfence/agent/x", "/ringfence/server"])
async def test_who_is_no_workload_is_denied(world: tuple[Fleet, int], identities: Identities, path: str) -> None:
    """An agent or a server has no proxy, nor has an identity that the intent does not name."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, path) as ads:
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_node_that_claims_another_identity_is_denied(world: tuple[Fleet, int], identities: Identities) -> None:
    """The certificate says trainer; what the node says beside it must not differ."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node(cluster=f"spiffe://example.test{REGISTRY}"))
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(fleet) == 0


async def test_a_connection_has_only_so_many_streams(
    world: tuple[Fleet, int], identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a snapshot: one identity must not take the memory of all others. Ended ones count no more."""
    monkeypatch.setattr("ringfence.broker.fleet.ads.MOST_STREAMS", 2)
    fleet, port = world
    fleet.apply(model())
    async with identities.channel(port, TRAINER) as channel:
        open_ones = [AdsCall(channel) for _ in range(2)]
        for ads in open_ones:
            await ads.ask(type_url=CLUSTER, node=node())
            assert await ads.read()
        third = AdsCall(channel)
        assert await third.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await open_ones[0].call.done_writing()
        assert await open_ones[0].code() is grpc.StatusCode.OK
        again = AdsCall(channel)
        await again.ask(type_url=CLUSTER, node=node())
        assert await again.read()


async def test_a_cluster_name_that_is_no_spiffe_id_claims_nothing(
    world: tuple[Fleet, int], identities: Identities
) -> None:
    """Envoys elsewhere use it as a label."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node(cluster="training"))
        assert await ads.read()


@pytest.mark.parametrize(
    "first", [{"type_url": CLUSTER}, {"type_url": CLUSTER, "node": node(inbound={"http": "nowhere"})}]
)
async def test_a_first_request_must_make_sense(
    world: tuple[Fleet, int], identities: Identities, first: dict[str, Any]
) -> None:
    """It names a node, whose metadata can be read."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(**first)
        assert await ads.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_connection_ends_with_the_svid_that_opened_it(identities: Identities, tmp_path: Path) -> None:
    """UNAVAILABLE, and the connection with it: the next one must show the new SVID."""
    ends = (identities.now + timedelta(hours=1)).replace(microsecond=0)  # certificates know whole seconds only
    times = [ends - timedelta(seconds=3)]  # for a handshake and an answer, on whatever machine

    def near_the_end() -> datetime:
        return times[0]

    fleet = Fleet(compiled, MemoryLog(), clock=near_the_end)
    await fleet.restore()
    fleet.apply(model())
    context = identities.server_context(tmp_path)
    lane = Lane(ProxyApi(fleet, near_the_end).methods(), on_error=hidden)
    port = await lane.listen_tcp("127.0.0.1", 0, lambda: context)
    try:
        async with identities.channel(port, TRAINER) as channel:
            ads = AdsCall(channel)
            await ads.ask(type_url=CLUSTER, node=node())
            assert await ads.read()
            (first,) = lane.connections
            assert await ads.code() is grpc.StatusCode.UNAVAILABLE
            times[0] = ends
            again = AdsCall(channel)
            assert await again.code() is grpc.StatusCode.UNAUTHENTICATED
            assert lane.connections - {first}, "the second call came on a connection of its own"
    finally:
        await lane.close()
    assert len(fleet) == 0


async def test_describe_says_what_the_callers_own_proxy_is_for(
    world: tuple[Fleet, int], identities: Identities
) -> None:
    """By its SVID alone: the request has no field to lie in."""
    fleet, port = world
    now = model()
    fleet.apply(now)
    described = {}
    for path in (TRAINER, REGISTRY):
        async with identities.channel(port, path) as channel:
            proxy = Client(channel, service_of(proxy_pb2, "Proxy"))
            described[path] = await proxy.Describe(proxy_pb2.DescribeRequest(), timeout=30)

    (up,) = described[TRAINER].upstreams
    assert (up.key, up.env, up.protocol) == ("registry.shared/http", "RINGFENCE_UPSTREAM_REGISTRY_HTTP", "http")
    assert not described[TRAINER].served
    (served,) = described[REGISTRY].served
    assert (served.name, served.port, described[REGISTRY].workload) == ("http", 8080, "registry")
    assert not described[REGISTRY].upstreams
    assert {d.revision for d in described.values()} == {now.revision}


async def test_describe_is_for_workloads_only(world: tuple[Fleet, int], identities: Identities) -> None:
    """Anyone else is denied."""
    fleet, port = world
    fleet.apply(model())
    async with identities.channel(port, "/ns/team-a/sa/nobody") as channel:
        proxy = Client(channel, service_of(proxy_pb2, "Proxy"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await proxy.Describe(proxy_pb2.DescribeRequest(), timeout=30)

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_revoked_proxys_stream_ends_and_the_next_one_is_refused(
    world: tuple[Fleet, int], identities: Identities
) -> None:
    """PERMISSION_DENIED on all, after word to let go of everything; once that is lifted it is served again."""
    fleet, port = world
    fleet.apply(model())
    name = f"spiffe://example.test{TRAINER}"
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node())
        assert await ads.read()
        fleet.revoke(Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")]))
        assert list((await ads.read()).removed_resources) == ["shared/registry/http"]
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(fleet) == 0
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node(), initial_resource_versions={"shared/registry/http": "1"})
        assert list((await ads.read()).removed_resources) == ["shared/registry/http"]
        await ads.ask(type_url=LISTENER, initial_resource_versions={"team-a/trainer": "1"})
        assert list((await ads.read()).removed_resources) == ["team-a/trainer"]
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(fleet) == 0
    fleet.revoke(Revocations())
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node())
        assert await ads.read()


@pytest.mark.parametrize("asks", [{}, {"type_url": CLUSTER, "node": node()}, {"type_url": LISTENER}])
async def test_a_revoked_caller_that_asks_for_no_listeners_holds_no_stream(
    world: tuple[Fleet, int], identities: Identities, monkeypatch: pytest.MonkeyPatch, asks: dict[str, Any]
) -> None:
    """It is refused after a while, whatever it says, and at once where it does not say who it is."""
    monkeypatch.setattr(ads_module, "let_go", partial(let_go, patience=0.2))
    fleet, port = world
    fleet.apply(model())
    fleet.revoke(Revocations.of((), [RevokedIdentity(f"spiffe://example.test{TRAINER}", 5, "left", "alice")]))
    async with stream(identities, port, TRAINER) as ads:
        if asks:
            await ads.ask(**asks)
        with suppress(grpc.aio.AioRpcError):
            async for answer in ads.call:
                assert not answer.resources
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_who_was_revoked_while_others_came_in_lets_go_too(
    world: tuple[Fleet, int], identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood at the door when it was: what it asked for already is answered with nothing."""
    fleet, port = world
    fleet.apply(model())
    entering, enter = asyncio.Event(), asyncio.Event()

    async def stands(_: Door) -> None:
        entering.set()
        await enter.wait()

    monkeypatch.setattr(Door, "enter", stands)
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=LISTENER, node=node(), initial_resource_versions={"team-a/trainer": "1"})
        await entering.wait()
        fleet.revoke(Revocations.of((), [RevokedIdentity(f"spiffe://example.test{TRAINER}", 5, "left", "alice")]))
        enter.set()
        assert list((await ads.read()).removed_resources) == ["team-a/trainer"]
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_single_certificate_that_is_revoked_takes_nothing_away(
    world: tuple[Fleet, int], identities: Identities
) -> None:
    """Its workload may come back with another one: it is refused before anything is read."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, TRAINER) as ads:
        await ads.ask(type_url=CLUSTER, node=node())
        assert await ads.read()
        (proxy,) = fleet.connected
        serial, name = proxy.caller.serial, str(proxy.caller.spiffe_id)
        one = RevokedSerial(serial, name, "key", "node", 2**31, 5, "keyCompromise", "stolen")
        fleet.revoke(Revocations.of([one]))
        assert await ads.code() is grpc.StatusCode.PERMISSION_DENIED


def from_grpc(**metadata: Any) -> dict[str, Any]:
    """The node of a library."""
    return node(**metadata) | {"user_agent_name": "gRPC Go"}


async def test_a_library_gets_its_own_dialect_and_only_by_name(
    world: tuple[Fleet, int], identities: Identities
) -> None:
    """On the same service; what an Envoy would get without naming it, a library does not."""
    fleet, port = world
    fleet._compiling._compiler = compile_snapshot
    fleet.apply(model(MESH.replace("protocol: http", "protocol: grpc") + PULL))
    async with stream(identities, port, TRAINER, "Sotw") as ads:
        await ads.ask(type_url=CLUSTER, node=from_grpc())
        everything = await ads.read()
        await ads.ask(type_url=LISTENER, resource_names=["registry.shared:http"])
        named = await ads.read()
    assert not everything.resources
    assert b"certificate_provider" not in everything.SerializeToString()
    assert len(named.resources) == 1
    assert b"registry.shared:http" in named.SerializeToString()


async def test_a_library_that_asks_for_increments_is_refused(world: tuple[Fleet, int], identities: Identities) -> None:
    """None does; a stream of the other dialect would hold matchers, which it would ignore."""
    fleet, port = world
    fleet.apply(model())
    async with stream(identities, port, TRAINER, "Delta") as ads:
        await ads.ask(type_url=CLUSTER, node=from_grpc())
        assert await ads.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_node_says_where_it_runs(world: tuple[Fleet, int], identities: Identities) -> None:
    """It is shown and offered with its addresses; what is no name of a place is refused."""
    fleet, port = world
    fleet.apply(model(MESH + PULL))
    at = node(inbound={"http": "127.0.0.1:4001"})
    async with stream(identities, port, REGISTRY) as ads:
        await ads.ask(type_url=LISTENER, node={**at, "locality": {"region": "eu", "zone": "eu-1"}})
        await ads.read()
        (row,) = fleet.list_proxies()
    async with stream(identities, port, REGISTRY) as ads:
        await ads.ask(type_url=LISTENER, node={**at, "locality": {"zone": "a b"}})
        assert await ads.code() is grpc.StatusCode.INVALID_ARGUMENT

    assert (row.region, row.zone) == ("eu", "eu-1")


async def test_a_goodbye_is_for_the_callers_own_proxies(world: tuple[Fleet, int], identities: Identities) -> None:
    """Another workload's certificate takes nobody's endpoints away, whatever node it names."""
    fleet, port = world
    fleet.apply(model(MESH + PULL))

    async def leave(path: str, node_id: str) -> Any:
        async with identities.channel(port, path) as channel:
            proxy = Client(channel, service_of(proxy_pb2, "Proxy"))
            return await proxy.Leave(proxy_pb2.LeaveRequest(node=node_id))

    async with stream(identities, port, REGISTRY) as ads:
        await ads.ask(type_url=LISTENER, node=node("r", inbound={"http": "127.0.0.1:4001"}))
        await ads.read()
        await leave(TRAINER, "r")
        assert fleet._offers.of("shared/registry", "http")
        await leave(REGISTRY, "r")
        assert not fleet._offers.of("shared/registry", "http")
    with pytest.raises(grpc.aio.AioRpcError, match="names no node"):
        await leave(REGISTRY, "")
