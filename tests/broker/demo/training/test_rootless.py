"""Who is not root plays the scenario in a user namespace, or is told why not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.demo.training import rootless
from ringfence.certs.errors import Kind, RingfenceError
from tests import parts


def user(monkeypatch: pytest.MonkeyPatch, *, refusal: str) -> list[tuple[str, list[str], dict[str, str]]]:
    """Nobody in particular, on a kernel that says *refusal*; what is executed instead of this process."""
    executed: list[tuple[str, list[str], dict[str, str]]] = []

    async def refused() -> str:
        return refusal

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(rootless, "refused", refused)
    monkeypatch.setattr(os, "execvpe", lambda *call: executed.append(call))
    return executed


def test_root_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the kernel."""
    executed = user(monkeypatch, refusal="no")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    rootless.enter(None)
    assert executed == []


def test_another_user_becomes_root_of_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same report, and marked, so that it is said."""
    executed = user(monkeypatch, refusal="")
    rootless.enter(Path("x.json"))
    ((program, command, environment),) = executed
    assert program == "unshare"
    assert command[-5:] == ["demo", "--scenario", "training", "--json", "x.json"]
    assert environment[rootless.MARK] == "1"


def test_where_the_kernel_refuses_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's reason, and nothing is started."""
    executed = user(monkeypatch, refusal="max_user_namespaces is 0")
    with pytest.raises(RingfenceError, match="max_user_namespaces is 0") as caught:
        rootless.enter(None)
    assert caught.value.kind is Kind.DENIED
    assert executed == []


def test_inside_it_may_make_machines() -> None:
    """By the very words: a namespace that ip(8) can name, with a wire and a filter."""
    parts.user_namespaces()
    parts.program("nft", "nftables")
    words: list[Any] = rootless.command(None)
    until = words.index("sh") + 4
    script = "ip netns add a && ip -n a link add x type veth peer name y && ip netns exec a nft list ruleset"
    assert words[until - 1] == "sh"
    done = subprocess.run([*words[:until], "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
