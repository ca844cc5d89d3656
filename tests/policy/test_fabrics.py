"""Fabrics and grants as values."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringfence.policy.fabrics import (
    ENFORCERS,
    PARTITIONS,
    Enforcer,
    FabricKind,
    Interface,
    InterfaceForm,
    Partition,
    PartitionKind,
    PortSpan,
)
from tests.policy.intent import FABRIC, GRANT, MESH, TRAINER, model_of


@pytest.mark.parametrize(
    ("interface", "name", "pci", "taken"),
    [
        (Interface(InterfaceForm.NAME, "ib1"), "ib1", "", True),
        (Interface(InterfaceForm.NAME, "ib1"), "ib10", "", False),
        (Interface(InterfaceForm.PREFIX, "ib"), "ib10", "", True),
        (Interface(InterfaceForm.PREFIX, "ib"), "eth0", "", False),
        (Interface(InterfaceForm.PCI, "0000:17:00.0"), "ib1", "0000:17:00.0", True),
        (Interface(InterfaceForm.PCI, "0000:ab:00.0"), "ib1", "0000:AB:00.0", True),
        (Interface(InterfaceForm.PCI, "0000:17:00.0"), "ib1", "0000:17:00.1", False),
        (Interface(InterfaceForm.PCI, "0000:17:00.0"), "ib1", "", False),
    ],
)
def test_an_interface_is_meant_exactly_by_its_beginning_or_by_where_it_is(
    interface: Interface, name: str, pci: str, *, taken: bool
) -> None:
    """`ib1` is not `ib10`, which NCCL would take for it."""
    assert interface.takes(name, pci) is taken


def test_what_is_printed_is_what_was_written() -> None:
    """Keys in hexadecimal, as subnet managers print them."""
    spelled = [
        Partition(PartitionKind.PKEY, 0x12),
        Partition(PartitionKind.VLAN, 40),
        Partition(PartitionKind.SECURITY_GROUP, group="sg-01234567"),
        Interface(InterfaceForm.PREFIX, "ib"),
        Interface(InterfaceForm.NAME, "ib0"),
        PortSpan(5, 5),
        PortSpan(5, 9),
    ]
    assert [str(one) for one in spelled] == [
        "pkey 0x0012",
        "vlan 40",
        "securityGroup sg-01234567",
        "ib*",
        "ib0",
        "5",
        "5-9",
    ]


def test_a_span_holds_both_its_ends() -> None:
    """And nothing beside."""
    assert [port in PortSpan(5, 7) for port in (4, 5, 7, 8)] == [False, True, True, False]


def test_only_what_crosses_sockets_is_a_host_firewalls() -> None:
    """Of the rest it sees nothing, so nobody may say that it enforces it."""
    assert {kind for kind in FabricKind if Enforcer.HOST_FIREWALL in ENFORCERS[kind]} == {FabricKind.TCP}
    assert [kind for kind in FabricKind if kind.seen_by_host] == [FabricKind.TCP]
    assert set(ENFORCERS) == set(FabricKind) == set(PARTITIONS) | {FabricKind.NVLINK}
    assert {one for able in ENFORCERS.values() for one in able} == set(Enforcer) - {Enforcer.NOTHING}


def test_a_grant_ends_on_time_and_its_job_is_its_namespaces() -> None:
    """Two namespaces may each have a job of one name."""
    grant = model_of(MESH, TRAINER, FABRIC, GRANT).fabric_grants["team-a/llm"]
    assert grant.job_key == "team-a/llm-7b"
    assert not grant.in_force(grant.expires)
    assert grant.in_force(grant.expires - timedelta(microseconds=1))
