"""Jobs as squeue tells of them: what is read, what is refused, and in bounded time."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.slurm.jobs import Job, Stage, hosts, parse
from ringfence.certs.errors import Kind, RingfenceError

LINE = "7|1000|team-a|RUNNING|1796121575|n[1-2]"


def test_a_line_is_a_job() -> None:
    """As squeue of Slurm 22.05 prints it."""
    assert parse(f"{LINE}\n") == (Job(7, 1000, "team-a", Stage.LIVE, 1796121575, "n[1-2]"),)


@pytest.mark.parametrize("group", ["domain users", "", "TEAM\\ml"])
def test_a_group_may_be_called_anything(group: str) -> None:
    """One job of a directory's group takes no identity from all the others."""
    assert parse(f"7|1000|{group}|RUNNING|NONE|n1\n{LINE}")[0].group == group


@pytest.mark.parametrize("end", ["NONE", "N/A", "Unknown", ""])
def test_a_job_without_a_limit_has_no_end(end: str) -> None:
    """Whatever a version of Slurm writes for it."""
    assert parse(f"7|0|root|RUNNING|{end}|n1")[0].ends_at == 0


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        ("CONFIGURING", Stage.LIVE),
        ("RUNNING", Stage.LIVE),
        ("SUSPENDED", Stage.LIVE),
        ("COMPLETING", Stage.ENDING),
        ("PENDING", Stage.AWAY),
        ("COMPLETED", Stage.AWAY),
        ("REQUEUED", Stage.AWAY),
        ("A_STATE_OF_TOMORROW", Stage.AWAY),
    ],
)
def test_only_states_that_are_known_to_have_processes_count(state: str, stage: Stage) -> None:
    """One that is not known gives nothing."""
    assert parse(f"7|1000|team-a|{state}|NONE|n1")[0].stage is stage


@pytest.mark.parametrize(
    "text",
    [
        "7|1000|team-a|RUNNING|NONE",
        "7|-1|team-a|RUNNING|NONE|n1",
        "7_3|1000|team-a|RUNNING|NONE|n1",
        "07|1000|team-a|RUNNING|NONE|n1",
        "7|1000|team-a|RUNNING|2026-12-01T10:00:00|n1",
        f"{LINE}|more",
        f"slurm_load_jobs error\n{LINE}",
    ],
)
def test_what_is_no_job_is_an_error(text: str) -> None:
    """Nothing is guessed from half a line: who prunes by it would take identities away."""
    with pytest.raises(RingfenceError) as refused:
        parse(text)

    assert refused.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-11,20]", ["n08", "n09", "n10", "n11", "n20"]),
        ("n[1-2]-ib,m7", ["n1-ib", "n2-ib", "m7"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("n1,n1", ["n1"]),
        ("", []),
    ],
)
def test_a_list_names_its_nodes(text: str, names: list[str]) -> None:
    """As `scontrol show hostnames` does."""
    assert list(hosts(text)) == names


@pytest.mark.parametrize(
    "text", ["n[1-", "n]1", "n[3-1]", "n[]", "n[a-b]", "n[[1]]", "n[0-99999999]", "n[1-400]x[1-400]"]
)
def test_what_is_no_list_is_an_error(text: str) -> None:
    """And so is one that would fill the memory."""
    with pytest.raises(RingfenceError, match="no list of nodes"):
        hosts(text)


@pytest.mark.parametrize("text", ["n" * 50_000 + "[", "[n" * 50_000, "n[1-2]" * 40, "n[0-65000]x[0-65000]"])
def test_no_list_takes_long(text: str) -> None:
    """Neither to be read nor to be refused."""
    began = time.process_time()
    with pytest.raises(RingfenceError):
        hosts(text)
    assert time.process_time() - began < 5


@given(st.text(alphabet="n[]-,019\n x", max_size=30))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    """A list or an error of ours."""
    with suppress(RingfenceError):
        assert all(hosts(text))


@given(st.text(alphabet="17|RUNING-,ab\n %", max_size=60))
def test_no_output_makes_it_fail_otherwise(text: str) -> None:
    """Jobs or an error of ours."""
    with suppress(RingfenceError):
        assert all(job.number for job in parse(text))


@given(st.lists(st.integers(0, 999), min_size=1, max_size=8, unique=True), st.integers(1, 4))
def test_numbers_keep_their_zeros(numbers: list[int], width: int) -> None:
    """A list of single numbers, whatever their width, is those names."""
    names = [f"{number:0{width}}" for number in numbers]

    assert list(hosts(f"n[{','.join(names)}]")) == [f"n{name}" for name in names]
