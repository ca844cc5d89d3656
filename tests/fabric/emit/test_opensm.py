"""partitions.conf read again as opensm reads it: who is a member, and that nobody else is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import RingfenceError
from ringfence.fabric.emit.targets import emit
from ringfence.policy.fabrics import Partition, PartitionKind
from tests.fabric.emit.intents import GUIDS, asked

IB = asked("opensm", "ib", guids=GUIDS)


def parsed(text: str) -> dict[int, tuple[set[str], dict[str, str]]]:
    """Key to flags and members, after doc/partition-config.txt: # begins a comment, ; ends a partition."""
    found = {}
    for definition in "\n".join(line.partition("#")[0] for line in text.splitlines()).split(";"):
        if not definition.strip():
            continue
        head, separator, ports = definition.partition(":")
        assert separator, definition
        name, *flags = (part.strip() for part in head.split(","))
        key = int(name.partition("=")[2], 16)
        assert key not in found, "opensm would merge the two"
        found[key] = (set(flags), dict(re.split(r"\s*=\s*", port.strip()) for port in ports.split(",")))
    return found


def test_members_are_full_and_all_others_limited_in_the_default_partition() -> None:
    """Limited members do not reach one another."""
    assert parsed(emit(IB)) == {
        0x7FFF: (set(), {"ALL": "limited", "SELF": "full"}),
        0x12: ({"ipoib"}, {"0x0002c903000e0b72": "full", "0x0002c903000e0b73": "full"}),
    }


@given(
    key=st.integers(1, 0x7FFE),
    guids=st.sets(st.integers(1, 2**64 - 2), min_size=1, max_size=20),
    path=st.text(max_size=20),
)
def test_whatever_the_key_the_ports_and_the_path(key: int, guids: set[int], path: str) -> None:
    """Exactly those ports are members of that key, whatever the document is called."""
    fabric = replace(
        IB.fabric,
        partition=Partition(PartitionKind.PKEY, key),
        origin=replace(IB.fabric.origin, path=path),
    )
    facts = replace(IB.facts, guids=tuple(f"{guid:016x}" for guid in guids))
    read = parsed(emit(replace(IB, fabric=fabric, facts=facts)))
    assert set(read) == {0x7FFF, key}
    assert {int(guid, 16) for guid in read[key][1]} == guids


@pytest.mark.parametrize(
    "wrong", ["", "ALL", "0x12", "0" * 16, "f" * 16, "0x0002c903000e0b72=full ;", "0002c903000e0b7g", "2" * 17]
)
@pytest.mark.parametrize("target", ["opensm", "ufm"])
def test_what_is_no_guid_is_refused(target: str, wrong: str) -> None:
    """A word of opensm's would let everybody in."""
    with pytest.raises(RingfenceError, match="which is no port's GUID"):
        emit(replace(IB, target=target, facts=replace(IB.facts, guids=(*GUIDS, wrong))))


def test_forms_of_a_guid() -> None:
    """Each port once, with 0x or without, with colons, in either case."""
    forms = ("0x0002C903000E0B72", "0002c903000e0b72", "00:02:c9:03:00:0e:0b:72")
    read = parsed(emit(replace(IB, facts=replace(IB.facts, guids=forms))))
    assert list(read[0x12][1]) == ["0x0002c903000e0b72"]


@pytest.mark.parametrize("partition", [None, Partition(PartitionKind.PKEY, 0x7FFF)])
@pytest.mark.parametrize("target", ["opensm", "ufm", "nad"])
def test_without_a_key_of_its_own_there_is_no_partition(target: str, partition: Partition | None) -> None:
    """In the default one is everybody."""
    one = replace(IB, target=target, facts=replace(IB.facts, resource="x/y"))
    with pytest.raises(RingfenceError, match=r"has no partition|tells nobody apart"):
        emit(replace(one, fabric=replace(one.fabric, partition=partition)))
