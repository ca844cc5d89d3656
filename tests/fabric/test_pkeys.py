"""Partition keys by value and by their place in a port's table."""

from __future__ import annotations

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.pkeys import index_of
from tests.fabric.nodes import infiniband


def test_the_index_is_that_of_the_full_member() -> None:
    """The same partition may be in a table twice: limited members cannot talk to each other."""
    assert index_of(0x123, [infiniband(0, table=(0xFFFF, 0x0123, 0x8123))]) == 2


def test_the_member_bit_of_what_is_asked_for_is_no_part_of_the_key() -> None:
    """0x8123 is how `ibstat` and sysfs show partition 0x123."""
    assert index_of(0x8123, [infiniband(0)]) == 1


def test_one_index_holds_for_all_ports() -> None:
    """NCCL has one variable for all its devices; where it would be wrong for one, there is none."""
    assert index_of(0x123, [infiniband(0), infiniband(1)]) == 1

    with pytest.raises(RingfenceError) as error:
        index_of(0x123, [infiniband(0), infiniband(1, table=(0xFFFF, 0x0, 0x8123))])

    assert error.value.kind is Kind.CONFLICT
    assert "index 1 on mlx5_0:1, 2 on mlx5_1:1" in str(error.value)
    assert "subnet manager" in error.value.hint


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ((0xFFFF, 0x8124), "mlx5_0:1 is not in partition 0x0123; it is in 0x7fff, 0x0124"),
        ((0x0, 0x0), "it is in none"),
        ((), "it is in none"),
        ((0xFFFF, 0x0123), "limited member of partition 0x0123"),
    ],
)
def test_a_port_outside_the_partition_is_an_error_with_the_next_step(table: tuple[int, ...], said: str) -> None:
    """Index 0 instead, NCCL's default, is the partition of everybody."""
    with pytest.raises(RingfenceError) as error:
        index_of(0x123, [infiniband(0, table=table)])

    assert error.value.kind is Kind.NOT_FOUND
    assert said in str(error.value)
    assert "subnet manager" in error.value.hint
