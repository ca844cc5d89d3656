"""Reading a node for the doctor: what is there becomes text, and what is not becomes a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.fabric import collect as collecting
from ringfence.broker.fabric.collect import NO_RDMA, collect, read_ports, samples
from ringfence.fabric.doctor.sysfs import ports


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with one RDMA port and one interface's settings, and no tool at all."""
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    attributes = {
        "state": "4: ACTIVE\n",
        "counters/port_xmit_data": "7\n",
        "hw_counters/out_of_sequence": "1\n",
        "pkeys/0": "0xffff\n",
        "gids/0": "fe80::1\n",
        "gid_attrs/ndevs/0": "fab0\n",
    }
    for name, text in attributes.items():
        (port / name).parent.mkdir(parents=True, exist_ok=True)
        (port / name).write_text(text)
    conf = tmp_path / "proc/sys/net/ipv4/conf/fab0"
    conf.mkdir(parents=True)
    (conf / "rp_filter").write_text("1\n")
    monkeypatch.setattr(collecting.shutil, "which", lambda _name, path: None)  # noqa: ARG005
    return tmp_path


def test_ports_are_named_as_sysfs_names_them(node: Path):
    """Wherever the tree was copied to."""
    (port,) = ports(read_ports(node / "sys/class/infiniband"))
    assert (port.name, port.active, dict(port.counters)) == (
        "mlx5_0:1",
        True,
        {"out_of_sequence": 1, "port_xmit_data": 7},
    )
    assert port.paths["port_xmit_data"] == "/sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data"
    assert (port.keys, port.gids, port.interfaces) == (("0xffff",), ("fe80::1",), ("fab0",))


def test_a_tool_that_is_not_installed_is_a_note(node: Path):
    """And the rest is read."""
    told = collect(("fab0",), (), node)
    assert told.files["/proc/sys/net/ipv4/conf/fab0/rp_filter"] == "1\n"
    assert "nft is not installed: `nft -j list ruleset` is not judged" in told.notes
    assert "interface fab0 is not here: its statistics are not judged" in told.notes
    assert not any("RDMA subsystem" in note for note in told.notes)
    assert told.texts == ()


def test_device_files_are_told_with_their_modes(node: Path):
    """As `stat` prints them."""
    folder = node / "dev/infiniband"
    folder.mkdir(parents=True)
    for name, mode in (("umad0", 0o660), ("uverbs0", 0o666)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    (text,) = collect((), (), node).texts
    assert (text.kind, text.path, text.text) == ("rdma-devices", "/dev/infiniband", "660 umad0\n666 uverbs0\n")


def test_a_kernel_without_rdma_says_so(tmp_path: Path, node: Path):
    """First of all, and it is no failure."""
    told = collect((), (), tmp_path / "empty")
    assert told.notes[0] == NO_RDMA.format("/sys/class/infiniband")
    assert told.files == {}


def test_the_first_sample_is_marked(node: Path):
    """Counters alone: what stands still is not read twice."""
    told = samples(("fab0",), node)
    assert ports(told.files)
    assert all(one.first for one in told.texts)


@pytest.mark.parametrize(("script", "note"), [("exit 3", "it ended with 3"), ("echo no leave >&2; exit 1", "no leave")])
def test_a_tool_that_refuses_is_a_note_in_its_own_words(
    script: str, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Most want root."""
    tool = tmp_path / "tool"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(collecting.shutil, "which", lambda _name, path: str(tool))  # noqa: ARG005
    assert f"`ss -tainepH` is not judged: {note}" in collect((), (), tmp_path).notes


def test_a_tool_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A node in trouble is where the doctor is called."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nexec sleep 600\n")
    tool.chmod(0o755)
    monkeypatch.setattr(collecting.shutil, "which", lambda _name, path: str(tool))  # noqa: ARG005
    monkeypatch.setattr(collecting, "TOOL_TIMEOUT", 0.05)
    assert "`ss -tainepH` is not judged: it took too long" in collect((), (), tmp_path).notes


def test_a_peer_that_is_no_address_reaches_no_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It could be an option; so could the name of an interface."""
    tool = tmp_path / "tool"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    tool.chmod(0o755)
    monkeypatch.setattr(collecting.shutil, "which", lambda _name, path: str(tool))  # noqa: ARG005
    told = collect(("lo", "--help"), ("-force", "10.91.0.2"), tmp_path)
    called = (tmp_path / "called").read_text()
    assert "-force" not in called
    assert "--help" not in called
    assert "route get 10.91.0.2 oif lo" in called
    assert any("no route to -force by lo was asked for" in note for note in told.notes)
