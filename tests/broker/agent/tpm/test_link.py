"""The way to a TPM: what names none, and what goes away, is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.agent.tpm.link import link
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.tpm.answers import answering, done


@pytest.mark.parametrize("tcti", ["", "device", "device:", "swtpm:host=127.0.0.1", "mssim:path=x", "/dev/tpm0"])
def test_what_names_no_tpm_is_refused_with_what_does(tcti: str) -> None:
    """Those that other TPM software knows too, but for which nobody here would answer."""
    with pytest.raises(RingfenceError) as caught, link(tcti):
        pass
    assert caught.value.kind is Kind.INVALID
    assert "device:PATH" in caught.value.hint


@pytest.mark.parametrize("kind", ["device:", "swtpm:path="])
def test_a_tpm_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    """With the flag."""
    with pytest.raises(RingfenceError) as caught, link(f"{kind}{tmp_path / 'absent'}"):
        pass
    assert caught.value.kind is Kind.INVALID
    assert caught.value.where == f"{kind}{tmp_path / 'absent'}"
    assert "--tpm-tcti" in caught.value.hint


def test_an_answer_is_read_whole(tmp_path: Path) -> None:
    """As long as its header says."""
    with answering(tmp_path, [done(b"x" * 2000)]) as tpm, link(tpm.tcti) as through:
        assert through.exchange(b"\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x7a") == done(b"x" * 2000)


def test_a_tpm_that_goes_away_is_named(tmp_path: Path) -> None:
    """In the middle of an answer."""
    with (
        answering(tmp_path, [done(b"x" * 20)[:-1]]) as tpm,
        pytest.raises(RingfenceError, match="closed") as caught,
        link(tpm.tcti) as through,
    ):
        through.exchange(b"\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x7a")
    assert caught.value.kind is Kind.INVALID


def test_a_device_is_written_a_command_and_read_an_answer(tmp_path: Path) -> None:
    """In one piece each; a file is a device that answers with what comes after the command."""
    device = tmp_path / "device"
    device.write_bytes(b"commandanswer")
    with link(f"device:{device}") as through:
        assert through.exchange(b"command") == b"answer"
