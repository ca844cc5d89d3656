"""What a process was started with, held against what its fabric asks for."""

from __future__ import annotations

import pytest

from ringfence.fabric.compare import Wrong, deviations, settled
from ringfence.fabric.environment import compile_environment
from tests.fabric.nodes import KINDS

WANTED = compile_environment(*KINDS["tcp"][:2], magic="0x0123456789abcdef")


def test_what_was_started_as_asked_has_none() -> None:
    """Whatever else is in its environment."""
    assert list(deviations(7, {**WANTED.variables, "HOME": "/root", "NCCL_DEBUG": "INFO"}, WANTED)) == []


def test_a_prefix_instead_of_a_name_differs() -> None:
    """`fab0` takes `fab01` as well: the one character that it lacks is the finding."""
    (one,) = deviations(7, {**WANTED.variables, "NCCL_SOCKET_IFNAME": "fab0,fab1"}, WANTED)

    assert (one.variable, one.wrong, one.leaves) == ("NCCL_SOCKET_IFNAME", Wrong.DIFFERS, True)
    assert str(one) == (
        "process 7: NCCL_SOCKET_IFNAME is 'fab0,fab1', wanted '=fab0,fab1'; traffic can leave the fabric"
    )


@pytest.mark.parametrize("name", list(WANTED.variables))
def test_each_variable_is_missed(name: str) -> None:
    """One that is left out is left to a default, and an empty one is as one left out to each library."""
    rest = {other: value for other, value in WANTED.variables.items() if other != name}

    for found in (rest, {**rest, name: ""}):
        (one,) = deviations(7, found, WANTED)
        assert (one.variable, one.wrong, one.found) == (name, Wrong.MISSING, "")


def test_what_only_bounds_traffic_lets_none_out() -> None:
    """A wrong magic keeps ranks apart; a wrong interface takes their data elsewhere."""
    wrong = {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_MAGIC": "7", "UCX_TCP_PORT_RANGE": "0"}
    found = {one.variable: one.leaves for one in deviations(7, {**WANTED.variables, **wrong}, WANTED)}
    assert found == {"GLOO_SOCKET_IFNAME": True, "NCCL_SOCKET_MAGIC": False, "UCX_TCP_PORT_RANGE": False}


@pytest.mark.parametrize(
    ("kind", "name", "value", "weaker"),
    [
        ("tcp", "NCCL_COMM_ID", "10.0.0.1:9999", "NCCL_SOCKET_IFNAME"),
        ("infiniband", "NCCL_OOB_NET_ENABLE", "1", "NCCL_SOCKET_IFNAME"),
        ("roce", "NCCL_IB_GID_INDEX", "3", "NCCL_IB_ADDR_RANGE"),
        ("roce", "NVSHMEM_IB_GID_INDEX", "3", "NVSHMEM_IB_ADDR_RANGE"),
        ("roce", "UCX_IB_GID_INDEX", "3", "NCCL_IB_ADDR_RANGE"),
    ],
)
def test_what_is_stronger_than_ours_is_found(kind: str, name: str, value: str, weaker: str) -> None:
    """All is as asked for, and the traffic goes elsewhere all the same."""
    wanted = compile_environment(*KINDS[kind][:2])

    (one,) = deviations(7, {**wanted.variables, name: value}, wanted)

    assert (one.variable, one.wrong, one.wanted, one.leaves) == (name, Wrong.OVERRIDES, "", True)
    assert f"{name} is {value!r}, which overrides {weaker}; traffic can leave" in str(one)


@pytest.mark.parametrize(("name", "value"), [("NCCL_IB_GID_INDEX", "3"), ("UCX_TLS", "tcp,cuda"), ("NCCL_COMM_ID", "")])
def test_what_overrides_nothing_here_is_no_finding(name: str, value: str) -> None:
    """A fabric of TCP has no GIDs, and UCX stays on its devices whatever it does there."""
    assert list(deviations(7, {**WANTED.variables, name: value}, WANTED)) == []


def test_what_overrides_a_variable_is_taken_out_and_the_rest_left() -> None:
    """So that a command is started as the fabric asks for, whatever its user's shell has in store."""
    found = {"HOME": "/root", "NCCL_COMM_ID": "10.0.0.1:1", "NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_GID_INDEX": "3"}
    made = settled({**found, "OMPI_MCA_btl_tcp_if_exclude": "lo"}, WANTED)

    assert made == {"HOME": "/root", "NCCL_IB_GID_INDEX": "3", **WANTED.variables}
    assert list(deviations(7, made, WANTED)) == []
