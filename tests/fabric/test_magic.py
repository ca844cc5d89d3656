"""NCCL_SOCKET_MAGIC of a job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import RingfenceError
from ringfence.fabric.magic import socket_magic

SECRET = b"0123456789abcdef"


def test_a_job_has_one_magic_wherever_it_is_made() -> None:
    """It is written down: another value after an upgrade would part the ranks of a running job."""
    assert socket_magic(SECRET, "team-a/llama") == "0x5918a1023f011f77"


def test_another_job_or_another_secret_has_another() -> None:
    """Which is all that it is for."""
    made = {socket_magic(secret, job) for secret in (SECRET, b"f" * 16) for job in ("team-a/llama", "team-b/llama")}
    assert len(made) == 4


@given(st.binary(min_size=16, max_size=64), st.text(min_size=1).filter(lambda job: bool(job.strip())))
def test_nccl_can_read_it(secret: bytes, job: str) -> None:
    """`strtoll` refuses what needs the 64th bit, and NCCL then takes the default that everybody has."""
    assert 0 <= int(socket_magic(secret, job), 16) < 1 << 63


@pytest.mark.parametrize(("secret", "job"), [(b"", "j"), (b"x" * 15, "j"), (SECRET, ""), (SECRET, " ")])
def test_a_short_secret_and_a_nameless_job_are_refused(secret: bytes, job: str) -> None:
    """Either would make a value that others can guess or share."""
    with pytest.raises(RingfenceError):
        socket_magic(secret, job)
