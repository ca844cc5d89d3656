"""What a command is told of fabrics that its run has joined, several at once included."""

from __future__ import annotations

import pytest

from ringfence.admin.v1.admin_pb2 import JoinFabricResponse
from ringfence.broker.run.fabric_environment import environments, with_fabrics
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.environment import Environment
from tests.broker.run.fabrics import document


def test_an_interface_that_only_the_agent_sees_is_the_fabrics_all_the_same() -> None:
    """It may be in a network namespace of the job's, where this process is not."""
    (made,) = environments([JoinFabricResponse(fabric=document(), interfaces=["fab0"])], magic="", bootstrap="")
    assert made.variables["GLOO_SOCKET_IFNAME"] == "fab0"


def test_a_fabric_that_nobody_sees_here_is_refused() -> None:
    """A command that would take any interface is not started."""
    with pytest.raises(RingfenceError) as caught:
        environments([JoinFabricResponse(fabric=document())], magic="", bootstrap="")
    assert caught.value.kind is Kind.NOT_FOUND


def test_an_agent_that_tells_of_no_fabric_is_not_believed() -> None:
    """What becomes variables passes the checks of a document."""
    with pytest.raises(RingfenceError) as caught:
        environments([JoinFabricResponse(fabric=document("fab0; rm"), interfaces=["fab0; rm"])], magic="", bootstrap="")
    assert caught.value.kind is Kind.INVALID


def test_fabrics_that_agree_are_told_of_together() -> None:
    """As those of NVLink and of its network."""
    nvlink = Environment("a/nv", {"NCCL_MNNVL_ENABLE": "1"})
    ib = Environment("a/ib", {"NCCL_NET": "IB"})
    assert with_fabrics({"HOME": "/"}, [nvlink, ib]) == {"HOME": "/", "NCCL_MNNVL_ENABLE": "1", "NCCL_NET": "IB"}
    assert with_fabrics({"HOME": "/"}, []) == {"HOME": "/"}


def test_fabrics_that_contradict_each_other_are_refused() -> None:
    """A variable has one value, and which of two it is to be is not guessed."""
    two = [Environment("a/ib", {"NCCL_NET": "IB"}), Environment("a/tcp", {"NCCL_NET": "Socket"})]
    with pytest.raises(RingfenceError, match="a/ib takes NCCL_NET=IB, and fabric a/tcp takes Socket") as caught:
        with_fabrics({}, two)
    assert caught.value.kind is Kind.CONFLICT
