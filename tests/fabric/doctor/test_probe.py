"""What a probe may cost is told in numbers, its sizes close in, and what it saw is judged like anything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.doctor.diagnose import diagnose
from ringfence.fabric.doctor.evidence import Declared
from ringfence.fabric.doctor.gather import gather
from ringfence.fabric.doctor.probe import SIZES, Budget, Probe, Spent, next_size
from ringfence.fabric.doctor.write_bw import write_bw
from ringfence.policy.findings import Finding
from tests.fabric.doctor import samples

FABRIC = Declared(("fab0",), ("ctl0",), tuple(n for n in [network("10.91.0.0/24")] if n), 9000)
GOOD = Probe("10.91.0.2", "fab0", 0.1, direct=True, largest=9000, rate=9.0, line_rate=10.0)
ACTIVE = {f"{samples.PORT}/state": "4: ACTIVE", f"{samples.PORT}/rate": "200 Gb/sec (4X HDR)"}
TABLE = """\
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      731000           97.23              96.90              0.185
 131072     365000           98.01              97.55              0.093
---------------------------------------------------------------------------------------
"""


def found(**seen: object) -> list[Finding]:
    """What a probe that saw this proves, beside what is right."""
    return list(diagnose(gather(FABRIC, (), ACTIVE, probes=(replace(GOOD, **seen),))).findings)  # type: ignore[arg-type]


def test_a_good_way_proves_nothing_and_answers_the_question():
    """It was looked at, and there was no sign of a hop."""
    assert found() == []
    told = diagnose(gather(FABRIC, (), probes=(GOOD,)))
    hop = next(one for one in told.answers if one.way == "layer-3 hop")
    assert (hop.verdict, hop.looked) == ("no sign of it", ("probes",))
    assert "RF6013" not in told.not_judged


@pytest.mark.parametrize(
    ("seen", "code", "said"),
    [
        ({"direct": False}, "RF6005", "may cross no router"),
        ({"largest": 8999}, "RF6007", "packets of 8999 bytes reach 10.91.0.2 whole"),
        ({"rtt": 1.5}, "RF6013", "1.5 ms away"),
        ({"rate": 4.9}, "RF6013", "4.9 Gbit/s over one connection, where fab0 has 10"),
        ({"rate": 4.9, "line_rate": 400.0}, "RF6013", "where fab0 has 400"),
        ({"verbs": 99.0}, "RF6013", "99 Gbit/s of ib_write_bw, where a port has 200"),
        ({"open_ports": (29500,)}, "RF6014", "port 29500 of 10.91.0.2 takes a connection"),
    ],
)
def test_each_fault_is_one_finding(seen: dict[str, object], code: str, said: str):
    """At the probe that saw it."""
    (one,) = found(**seen)
    assert (one.code, one.path) == (code, "probe of 10.91.0.2 by fab0")
    assert said in one.message


@pytest.mark.parametrize(
    "seen", [{"rate": 5.1, "line_rate": 400.0}, {"rate": 0.1, "line_rate": None}, {"verbs": 101.0}]
)
def test_one_connection_is_not_asked_for_more_than_it_can(seen: dict[str, object]):
    """Nor is a speed judged where nobody says what it should be."""
    assert found(**seen) == []


def test_what_was_not_to_be_had_is_no_fault():
    """A peer that answers nothing, and a fabric whose MTU nobody knows."""
    nothing = replace(GOOD, rtt=None, direct=None, largest=None, rate=None, line_rate=None)
    assert diagnose(gather(FABRIC, (), probes=(nothing,))).findings == ()
    assert diagnose(gather(replace(FABRIC, mtu=0), (), probes=(replace(GOOD, largest=100),))).findings == ()


def test_the_budget_and_what_was_spent_are_told_in_numbers():
    """Of each kind, before and after."""
    told = str(Budget((29400, 29500), 9000, 1 << 20, device="mlx5_0"))
    assert told == (
        "67 echo requests of 9000 bytes or less; 2 connections to ports 29400, 29500, with a greeting of TLS on each; "
        "1048576 bytes over one connection to a responder; 20 s; 2 s of ib_write_bw by mlx5_0"
    )
    assert str(Spent(3, 2, 1, 0.25)) == "3 echo requests, 2 connections, 1 bytes to a responder, 0.2 s"


@given(st.integers(28, 65535), st.integers(28, 65535))
def test_the_largest_packet_is_found_within_the_sizes(limit: int, largest: int):
    """Whatever it is, to the byte."""
    passed, refused, steps = 28, limit, 2
    if largest >= limit:
        return
    size: int | None = min(576, refused - 1)
    while size is not None:
        passed, refused = (size, refused) if size <= largest else (passed, size)
        size, steps = next_size(passed, refused), steps + 1
    assert passed == largest
    assert steps - 1 <= SIZES


def test_a_table_of_ib_write_bw():
    """The best average; none of what is in another unit, or nothing at all."""
    assert write_bw(TABLE) == 97.55
    assert write_bw(TABLE.replace("Gb/sec", "MB/sec")) is None
    assert write_bw("") is None


@given(st.text(alphabet="BW average[Gb/sec]0123456789. \n#", max_size=200))
def test_any_text_is_read(text: str):
    """And says nothing where it says nothing."""
    assert write_bw(text) is None or "average[Gb/sec]" in text
