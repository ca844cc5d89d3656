"""nft(8) and ip(8), and what is said where they are not there, may not, or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.fabric.apply_tools import run
from ringfence.certs.errors import Kind, RingfenceError


@pytest.fixture
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only program on PATH, which is to be written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nft"


def write(program: Path, script: str) -> None:
    """Make it a program of the shell."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_it_prints_what_it_is_told(nft: Path) -> None:
    """By its standard input."""
    write(nft, "read line; echo got $line $1")
    assert run(("nft", "-f"), "text\n") == "got text -f\n"


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo Operation not permitted >&2; exit 1", Kind.DENIED, "`nft -f -` needs CAP_NET_ADMIN"),
        ("echo no such thing >&2; exit 1", Kind.UNAVAILABLE, "`nft -f -` failed: no such thing"),
    ],
)
def test_a_failure_says_which_command_and_why(nft: Path, script: str, kind: Kind, said: str) -> None:
    """With the next step."""
    write(nft, script)
    with pytest.raises(RingfenceError, match=said) as caught:
        run(("nft", "-f", "-"))
    assert caught.value.kind is kind
    assert caught.value.hint


def test_a_program_that_is_not_there_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not found on PATH, nor where Debian puts it."""
    monkeypatch.setattr("ringfence.broker.fabric.apply_tools.shutil.which", lambda *_, **__: None)
    with pytest.raises(RingfenceError, match="there is no nft") as caught:
        run(("nft", "list"))
    assert (caught.value.kind, caught.value.hint) == (Kind.NOT_FOUND, "apt-get install nftables")
