"""What a command is told of fabrics that its run has joined, several at once included."""

from __future__ import annotations

import pytest

from ringfence.admin.v1.admin_pb2 import JoinFabricResponse
from ringfence.broker.run.fabric_environment import environments, unbounded, with_fabrics
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


def test_ports_that_a_fabric_does_not_let_through_are_told_of() -> None:
    """NCCL and Gloo have no variable for them: without a word, ranks would wait for each other in vain."""
    joined = [JoinFabricResponse(fabric=document(), interfaces=["fab0"])]
    (told,) = unbounded(joined, "32768\t60999\n")
    assert "32768-60999" in told
    assert "fabric platform/fab lets 50000-51000 through" in told
    assert told.endswith("sysctl net.ipv4.ip_local_port_range='50000 51000'")
    assert list(unbounded(joined, "50000\t51000\n")) == []
    assert list(unbounded(joined, "50500 50600")) == []


def test_a_fabric_without_ports_has_no_word_on_them() -> None:
    """No socket may use it at all: that is for who compiles its environment."""
    without = document()
    del without.ports[:]
    assert list(unbounded([JoinFabricResponse(fabric=without)], "32768 60999")) == []


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
