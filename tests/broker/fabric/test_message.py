"""Fabrics on their way from a server to an agent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.fabric.message import Refusal, claims_of, fabric_message, fabric_of, update_message
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import Member, ToldFabric, ToldJob
from ringfence.policy.fabrics import (
    Enforcer,
    Fabric,
    FabricKind,
    Interface,
    InterfaceForm,
    Partition,
    PartitionKind,
    Plane,
    PortSpan,
)
from ringfence.policy.model import Origin

RAIL = Fabric(
    namespace="platform",
    name="rail",
    kind=FabricKind.INFINIBAND,
    plane=Plane.FABRIC,
    interfaces=(
        Interface(InterfaceForm.PREFIX, "ib"),
        Interface(InterfaceForm.NAME, "hsn0"),
        Interface(InterfaceForm.PCI, "0000:17:00.0"),
    ),
    cidrs=("10.91.0.0/16", "fd91::/64"),
    mtu=4092,
    partition=Partition(PartitionKind.PKEY, 0x12),
    ports=(PortSpan(5, 5), PortSpan(50000, 51000)),
    tenants=("team-a", "team-b"),
    enforced_by=Enforcer.PKEY,
    origin=Origin("rail.yaml", 3),
)


def test_a_fabric_arrives_as_it_was_written() -> None:
    """Every field, where it is written among them."""
    arrived = fabric_of(fabric_message(RAIL))

    assert arrived == RAIL
    assert str(arrived.origin) == "rail.yaml:3"


@pytest.mark.parametrize(
    "fabric",
    [
        replace(RAIL, cidrs=(), mtu=0, partition=None, ports=(), tenants=(), enforced_by=Enforcer.NOTHING),
        replace(
            RAIL,
            kind=FabricKind.NVLINK,
            interfaces=(),
            cidrs=(),
            mtu=0,
            partition=None,
            ports=(),
            enforced_by=Enforcer.IMEX,
        ),
        replace(
            RAIL,
            kind=FabricKind.EFA,
            partition=Partition(PartitionKind.SECURITY_GROUP, group="sg-01234567"),
            enforced_by=Enforcer.SECURITY_GROUP,
        ),
        replace(
            RAIL, kind=FabricKind.ROCE, partition=Partition(PartitionKind.VLAN, 40), enforced_by=Enforcer.SWITCH_ACL
        ),
        replace(RAIL, kind=FabricKind.SLINGSHOT, partition=Partition(PartitionKind.VNI, 7), enforced_by=Enforcer.VNI),
        replace(RAIL, kind=FabricKind.TCP, partition=None, enforced_by=Enforcer.HOST_FIREWALL),
        replace(RAIL, plane=Plane.STORAGE),
    ],
)
def test_so_does_one_of_every_kind(fabric: Fabric) -> None:
    """Also one that says next to nothing."""
    assert fabric_of(fabric_message(fabric)) == fabric


def _interface(said: pb.FabricDocument) -> None:
    said.interfaces.append('ib0" }; add rule inet x')


def _loopback(said: pb.FabricDocument) -> None:
    said.interfaces.append("lo")


def _network(said: pb.FabricDocument) -> None:
    said.cidrs.append("127.0.0.0/8")


def _ports(said: pb.FabricDocument) -> None:
    said.ports.append("0-65535, 22")


def _kind(said: pb.FabricDocument) -> None:
    said.kind = "pigeon"


def _name(said: pb.FabricDocument) -> None:
    said.name = "rail/../x"


def _partition(said: pb.FabricDocument) -> None:
    said.partition_kind = "metadata"


@pytest.mark.parametrize("spoil", [_interface, _loopback, _network, _ports, _kind, _name, _partition])
def test_what_no_document_may_say_is_not_believed(spoil: Callable[[pb.FabricDocument], None]) -> None:
    """It would become text for nft; it is refused with the field that is wrong."""
    said = fabric_message(RAIL)
    spoil(said)

    with pytest.raises(RingfenceError, match="cannot be: ") as refused:
        fabric_of(said)
    assert refused.value.kind is Kind.INVALID


@given(
    st.builds(
        pb.FabricDocument,
        namespace=st.text(max_size=8),
        name=st.sampled_from(["rail", ""]),
        kind=st.sampled_from([*(kind.value for kind in FabricKind), ""]),
        plane=st.sampled_from(["fabric", "x"]),
        interfaces=st.lists(st.text(max_size=16), max_size=3),
        cidrs=st.lists(st.text(max_size=16), max_size=3),
        mtu=st.integers(0, 2**32 - 1),
        partition_kind=st.sampled_from(["pkey", "vlan", "vni", "securityGroup", ""]),
        partition_number=st.integers(0, 2**32 - 1),
        partition_group=st.text(max_size=12),
        ports=st.lists(st.text(max_size=11), max_size=3),
        enforced_by=st.sampled_from([*(one.value for one in Enforcer), ""]),
    )
)
def test_whatever_arrives_is_a_fabric_or_refused(said: pb.FabricDocument) -> None:
    """No other error, and what is taken would be told on as it is."""
    with suppress(RingfenceError):
        fabric = fabric_of(said)
        assert fabric_of(fabric_message(fabric)) == fabric


def test_an_agents_claims_are_read_each_once_and_in_one_spelling() -> None:
    """What is no address stays, to be refused by its words; of one claim said twice the last counts."""
    one = {"fabric": "a/b", "job": "c/d", "entry_id": "e", "spiffe_id": "spiffe://x/y"}
    said = pb.FabricClaims(
        claims=[
            pb.FabricClaim(**one, addresses=["10.0.0.9"]),
            pb.FabricClaim(**one | {"entry_id": "f"}),
            pb.FabricClaim(**one, addresses=["FD91:0::1", "10.0.0.2", "10.0.0.2", "eth0"]),
        ]
    )

    assert claims_of(said, "agent") == (
        Claim("agent", "a/b", "c/d", "spiffe://x/y", "e", ("10.0.0.2", "eth0", "fd91::1")),
        Claim("agent", "a/b", "c/d", "spiffe://x/y", "f", ()),
    )


def test_what_an_agent_is_told_is_all_in_the_message() -> None:
    """Fabrics, jobs, members, and refusals with the next step."""
    job = ToldJob("c/d", ("spiffe://x/y",), 9, (Member("10.0.0.2", 7),))
    error = RingfenceError(Kind.CONFLICT, "10.0.0.2 is taken", hint="Wait")
    refusal = Refusal.of(Claim("agent", "a/b", "c/d", "spiffe://x/y", "e", ()), error)

    said = update_message(3, (ToldFabric(RAIL, (job,)),), [refusal])

    assert said.revision == 3
    assert fabric_of(said.fabrics[0].fabric) == RAIL
    [told] = said.fabrics[0].jobs
    assert (told.job, list(told.spiffe_ids), told.expires_at) == ("c/d", ["spiffe://x/y"], 9)
    assert [(one.address, one.until) for one in told.members] == [("10.0.0.2", 7)]
    [no] = said.refusals
    assert (no.fabric, no.job, no.spiffe_id, no.entry_id, no.code) == ("a/b", "c/d", "spiffe://x/y", "e", 6)
    assert no.detail == "10.0.0.2 is taken. Wait"
