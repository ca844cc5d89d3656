"""An agent that cannot keep fabrics says what is missing, and does not start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringfence.broker.agent.daemon import Agent
from ringfence.broker.agent.fabrics.able import check_able
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.harness import config

ALL = "CapEff:\t000001ffffffffff\n"
NO_NET_ADMIN = "CapEff:\t000001ffffffefff\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an nft and an ip that work, which alone is searched."""
    for name in ("nft", "ip"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("ringfence.broker.fabric.apply_tools.shutil.which", lambda name, **_: _in(tmp_path, name))
    return tmp_path


def _in(folder: Path, name: str) -> str | None:
    return str(folder / name) if (folder / name).exists() else None


def able(tools: Path, capabilities: str = ALL, setting: Path | None = None) -> None:
    """Ask, with a process and a /proc/sys as given."""
    (tools / "status").write_text(f"Name:\tpython\n{capabilities}")
    check_able(tools / "status", setting or tools / "nft")


def test_with_all_of_it_it_is_able(tools: Path) -> None:
    """Nothing is said."""
    able(tools)


@pytest.mark.parametrize("capabilities", [NO_NET_ADMIN, ""])
def test_without_the_capability_it_is_refused(tools: Path, capabilities: str) -> None:
    """With the next step."""
    with pytest.raises(RingfenceError, match="needs CAP_NET_ADMIN") as caught:
        able(tools, capabilities)
    assert caught.value.kind is Kind.DENIED
    assert "AmbientCapabilities=CAP_NET_ADMIN" in caught.value.hint


@pytest.mark.parametrize(("name", "package"), [("nft", "nftables"), ("ip", "iproute2")])
def test_without_a_tool_it_is_refused(tools: Path, name: str, package: str) -> None:
    """With the package that has it."""
    (tools / name).unlink()
    with pytest.raises(RingfenceError, match=f"there is no {name}") as caught:
        able(tools, setting=tools / "status")
    assert package in caught.value.hint


def test_with_settings_that_cannot_be_written_it_is_refused(tools: Path) -> None:
    """As in a unit with ProtectKernelTunables."""
    with pytest.raises(RingfenceError, match="writes settings of interfaces") as caught:
        able(tools, setting=tools / "nothing")
    assert "ProtectKernelTunables=no" in caught.value.hint


async def test_the_agent_does_not_begin_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it makes its folder, or asks a server."""

    def unable() -> None:
        raise RingfenceError(Kind.DENIED, "an agent with --fabric needs CAP_NET_ADMIN")

    monkeypatch.setattr("ringfence.broker.agent.fabrics.able.check_able", unable)
    agent = Agent(config(tmp_path, "127.0.0.1:1", "token", fabric=True))
    with pytest.raises(RingfenceError, match="CAP_NET_ADMIN"):
        await agent.run(asyncio.Event())
    assert not await asyncio.to_thread((tmp_path / "agent").exists)
