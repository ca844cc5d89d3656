"""What of a torchrun command line is understood, and what is refused because ranks would meet elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.run.torchrun import check, options_of
from ringfence.certs.errors import Kind, RingfenceError

SCRIPT = ("train.py", "--master-addr", "elsewhere", "--standalone")


@pytest.mark.parametrize(
    "command",
    [
        ("torchrun",),
        ("/opt/venv/bin/torchrun",),
        ("python", "-m", "torch.distributed.run"),
        ("/usr/bin/python3.11", "-u", "-X", "dev", "-mtorch.distributed.run"),
        ("python3", "-m", "torch.distributed.launch"),
    ],
)
def test_torchrun_is_known_in_each_of_its_spellings(command: tuple[str, ...]) -> None:
    """And what its script is given is the script's matter."""
    assert options_of((*command, "--nnodes=2", *SCRIPT)) == {"nnodes": "2"}


@pytest.mark.parametrize(
    "command",
    [
        ("python", "train.py", "-m", "torch.distributed.run"),
        ("python", "-c", "pass", "-m", "torch.distributed.run"),
        ("python", "-m", "train"),
        ("python", "-m"),
        ("python",),
        ("true",),
    ],
)
def test_another_command_is_none(command: tuple[str, ...]) -> None:
    """Whatever it is given."""
    assert options_of(command) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--master-addr", "a", "x.py"), {"master_addr": "a"}),
        (("--master_addr=a", "x.py"), {"master_addr": "a"}),
        (("--master-a=a", "x.py"), {"master_addr": "a"}),
        (("--rdzv_e", "a:1", "-m", "pkg.train", "--nnodes", "9"), {"rdzv_endpoint": "a:1", "-m": ""}),
        (("--no-python", "--standalone", "x.sh"), {"no_python": "", "standalone": ""}),
        (("-r", "3", "-t", "3", "x.py"), {"-r": "3", "-t": "3"}),
        (("--of-tomorrow", "7", "--nnodes", "2", "x.py"), {"of_tomorrow": "7", "nnodes": "2"}),
        (("--", "--standalone"), {}),
        (("--nnodes",), {"nnodes": ""}),
    ],
)
def test_options_are_read_as_torchrun_reads_them(arguments: tuple[str, ...], told: dict[str, str]) -> None:
    """With dashes or underscores, with `=` or without, and shortened as long as that means one."""
    assert options_of(("torchrun", *arguments)) == told


def test_the_number_of_nodes_may_come_from_the_environment() -> None:
    """The command line wins."""
    assert options_of(("torchrun", "x.py"), {"PET_NNODES": "1:2", "PET_MASTER_ADDR": "a"}) == {"nnodes": "1:2"}
    assert options_of(("torchrun", "--nnodes=2", "x.py"), {"PET_NNODES": "1:2"}) == {"nnodes": "2"}
    assert options_of(("true",), {"PET_NNODES": "1:2"}) is None


@given(st.lists(st.text(max_size=12), max_size=8))
def test_no_command_line_is_too_odd(arguments: list[str]) -> None:
    """It is read to its end, or not at all."""
    assert options_of(("torchrun", *arguments)) is not None


def test_what_says_the_same_is_let_through() -> None:
    """Nobody has to take flags away that do no harm."""
    check({}, 1, 29500)
    said = {"master_addr": "127.0.0.1", "master_port": "29500", "node_rank": "1", "rdzv_backend": "static"}
    check({**said, "nnodes": "4:4", "rdzv_id": "77", "nproc_per_node": "8"}, 1, 29500)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"standalone": ""}, "--standalone"),
        ({"rdzv_backend": "c10d"}, "unpickles"),
        ({"rdzv_backend": "etcd"}, "--rdzv-backend etcd"),
        ({"rdzv_endpoint": "10.0.0.1:29500"}, "--rdzv-endpoint 10.0.0.1:29500, but here it is 127.0.0.1:29500"),
        ({"master_addr": "node-0"}, "--master-addr node-0"),
        ({"master_port": "29501"}, "--master-port 29501"),
        ({"node_rank": "0"}, "--node-rank 0, but here it is 1"),
        ({"nnodes": "1:4"}, "fixed number of nodes"),
    ],
)
def test_what_contradicts_is_refused_with_the_reason(options: dict[str, str], reason: str) -> None:
    """Each would have the ranks meet somewhere that no proxy stands before."""
    with pytest.raises(RingfenceError, match=reason) as caught:
        check(options, 1, 29500)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint
