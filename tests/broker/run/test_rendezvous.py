"""Where the ranks of a job meet: one way to rank 0's store, and none to any other rank."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.broker.run.environment import workload_environment
from ringfence.broker.run.plan import Launch, ProxyPlan, Who, plan_proxy
from ringfence.broker.run.ports import bind_here
from ringfence.broker.run.rendezvous import Held, Meeting, Rendezvous
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proxy.v1 import proxy_pb2
from tests.ports import free_port

WHO = Who("team-a", "trainer")
OWN, OTHER = "trainer.team-a/c10d", "registry.shared/http"
PORT = 29500


def described(port: int = PORT, **changed: object) -> proxy_pb2.DescribeResponse:
    """A trainer whose ranks may reach each other's store, and one workload more."""
    served = proxy_pb2.Served(name="c10d", port=port, protocol="tcp")
    for name, value in changed.items():
        setattr(served, name, value)
    return proxy_pb2.DescribeResponse(
        spiffe_id="spiffe://example.test/ns/team-a/sa/trainer",
        served=[served, proxy_pb2.Served(name="metrics", port=8000, protocol="http")],
        upstreams=[
            proxy_pb2.Upstream(key=OWN, env="RINGFENCE_UPSTREAM_TRAINER_C10D", protocol="tcp"),
            proxy_pb2.Upstream(key=OTHER, env="RINGFENCE_UPSTREAM_REGISTRY_HTTP", protocol="http"),
        ],
    )


def planned(rank: int) -> tuple[Rendezvous, ProxyPlan]:
    """The way of a rank, and its proxy with it."""
    said = described()
    found = Rendezvous.of(Meeting(rank, "c10d"), WHO, said)
    launch = Launch("s:1", "example.test", "/run/agent.sock", cuts=True)
    return found, found.planned(plan_proxy(WHO, launch, said, inbound_host="127.0.0.1", socket_dir="/x"))


def test_rank_0_offers_the_port_and_needs_no_way_to_it() -> None:
    """A listener for its own upstream would take the very port of the store, where it is pinned."""
    _, plan = planned(0)
    assert set(plan.inbound) == {"c10d", "metrics"}
    assert set(plan.upstream) == {OTHER}
    assert "ranks" not in plan.metadata
    assert "RINGFENCE_UPSTREAM_TRAINER_C10D" not in workload_environment(plan, {})
    assert workload_environment(plan, {})["RINGFENCE_PORT_C10D"] == str(PORT)


def test_the_other_ranks_have_the_way_and_offer_nothing() -> None:
    """The server sends nobody to a proxy that says no address for the port."""
    found, plan = planned(3)
    assert set(plan.metadata["inbound"]) == {"metrics"}
    assert "c10d" not in plan.served
    assert plan.cut == frozenset()
    assert plan.metadata["ranks"] == {OWN: 0}
    assert plan.upstream[OWN] == found.address == f"127.0.0.1:{PORT}"
    assert workload_environment(plan, {})["RINGFENCE_UPSTREAM_TRAINER_C10D"] == f"127.0.0.1:{PORT}"


@pytest.mark.parametrize("rank", [0, 5])
def test_every_rank_is_told_the_same_address(rank: int) -> None:
    """PyTorch's rank 0 tells the others its own; what torchrun would rather take goes."""
    found, _ = planned(rank)
    inherited = {"PET_RDZV_ENDPOINT": "evil:1", "PET_STANDALONE": "1", "MASTER_ADDR": "evil", "PET_NNODES": "8"}
    assert found.environment(inherited) == {
        "PET_NNODES": "8",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(PORT),
        "PET_RDZV_BACKEND": "static",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(PORT),
        "PET_NODE_RANK": str(rank),
    }


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (described(), "gcs"),
        (described(), "metrics"),
        (described(socket="store.sock"), "c10d"),
        (described(last=29600), "c10d"),
    ],
)
def test_a_store_is_a_served_tcp_port_with_one_number(said: proxy_pb2.DescribeResponse, name: str) -> None:
    """Anything else is not there."""
    with pytest.raises(RingfenceError, match=f"serves no TCP port '{name}'") as caught:
        Rendezvous.of(Meeting(0, name), WHO, said)
    assert caught.value.kind is Kind.NOT_FOUND


def test_without_a_rule_ranks_do_not_meet() -> None:
    """Being of one workload is no leave; rank 0 alone calls nobody."""
    said = described()
    del said.upstreams[0]
    with pytest.raises(RingfenceError, match="no rule lets ranks of team-a/trainer") as caught:
        Rendezvous.of(Meeting(1, "c10d"), WHO, said)
    assert caught.value.kind is Kind.DENIED
    assert Rendezvous.of(Meeting(0, "c10d"), WHO, said).is_host


@pytest.fixture
def first() -> tuple[Rendezvous, ProxyPlan]:
    """The way of rank 1; choosing ports takes a look at files."""
    return planned(1)


async def test_the_proxys_listener_is_behind_the_relay(first: tuple[Rendezvous, ProxyPlan], short_path: Path) -> None:
    """It is a pipe that the command does not know of; the command's port is open before the proxy is."""
    port = free_port()
    found, plan = first
    held = Held(replace(found, number=port), short_path, bind_here)
    assert held.outside(plan).upstream == {OWN: f"unix:{short_path}/store.sock", OTHER: plan.upstream[OTHER]}
    async with held:
        socket.create_connection(("127.0.0.1", port), 20).close()


async def test_two_ranks_of_one_loopback_are_refused(first: tuple[Rendezvous, ProxyPlan], short_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        held = Held(replace(first[0], number=taken.getsockname()[1]), short_path, bind_here)
        with pytest.raises(RingfenceError, match="is taken here") as caught:
            await held.__aenter__()
    assert caught.value.kind is Kind.CONFLICT
    assert "--isolate" in caught.value.hint
