"""Ports that only the node itself may reach: their text, and what nft makes of it."""

from __future__ import annotations

import subprocess

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan_closed import TABLE, closed, ports_in
from tests import parts

WHOLE = """\
add table inet ringfence-closed
delete table inet ringfence-closed
table inet ringfence-closed {
  set ports {
    type inet_service
    elements = { 2379, 29500 }
  }
  chain in {
    type filter hook input priority filter; policy accept;
    iifname != "lo" tcp dport @ports counter drop
  }
}
"""


def test_the_ports_are_closed_to_whatever_does_not_come_by_loopback() -> None:
    """Golden; each once, and without any there is no table."""
    assert closed((29500, 2379, 29500)) == WHOLE
    assert closed(()) == "".join(WHOLE.splitlines(keepends=True)[:2])


def test_nft_takes_it_and_tells_it_again() -> None:
    """Put there twice, and taken away: nothing is left."""
    parts.root()
    nft, unshare = parts.program("nft", "nftables"), parts.program("unshare", "util-linux")
    steps = (closed((1, 65535)), closed((29500, 2379)))
    script = "".join(f"{nft} -f - <<'END'\n{text}END\n" for text in steps) + f"{nft} -j list table {TABLE}\n"
    script += f"{nft} -f - <<'END'\n{closed(())}END\n{nft} list ruleset >&2\n"
    done = subprocess.run([unshare, "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ports_in(done.stdout) == {2379, 29500}


@pytest.mark.parametrize(
    "wrong", ["", "{}", '{"nftables":[{"set":1}]}', '{"nftables":[{"set":{"name":"ports","elem":["x"]}}]}']
)
def test_anything_else_is_refused(wrong: str) -> None:
    """In words."""
    with pytest.raises(RingfenceError) as caught:
        ports_in(wrong)
    assert caught.value.kind is Kind.INVALID
