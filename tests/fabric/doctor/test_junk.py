"""Whatever a file holds, no parser raises, and what it makes is bounded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.fabric.doctor import bounded, conntrack
from ringfence.fabric.doctor.bounded import MAX_FACTS, MAX_LINE
from ringfence.fabric.doctor.conntrack import flows
from ringfence.fabric.doctor.ethtool import nic
from ringfence.fabric.doctor.nccl_log import nccl_log
from ringfence.fabric.doctor.nccl_tests import nccl_tests
from ringfence.fabric.doctor.nft import captures
from ringfence.fabric.doctor.nstat import nstat
from ringfence.fabric.doctor.ras import ras
from ringfence.fabric.doctor.rdma_tool import links, shared_namespaces, statistics
from ringfence.fabric.doctor.routes import interfaces, neighbours, routes
from ringfence.fabric.doctor.security_groups import security_groups
from ringfence.fabric.doctor.ss import sockets
from ringfence.fabric.doctor.sysfs import ports
from tests.fabric.doctor import rulesets, samples

PARSERS: dict[str, Callable[[str], object]] = {
    "nccl_log": lambda text: nccl_log(text, "p"),
    "nccl_tests": lambda text: nccl_tests(text, "p"),
    "ras": lambda text: ras(text, "p"),
    "ports": lambda text: ports({text: text, f"{samples.PORT}/rate": text, f"{samples.PORT}/hw_counters/x": text}),
    "nic": lambda text: nic(text, "fab0", "p"),
    "links": links,
    "statistics": statistics,
    "system": shared_namespaces,
    "nstat": lambda text: nstat(text, "p"),
    "sockets": lambda text: sockets(text, "p"),
    "flows": lambda text: flows(text, "p"),
    "routes": lambda text: routes(text, "p"),
    "neighbours": lambda text: neighbours(text, "p"),
    "interfaces": interfaces,
    "groups": lambda text: security_groups(text, "p"),
    "nft": lambda text: captures(text, "fab0", tuple(n for n in [bounded.network("10.91.0.0/24")] if n)),
}
TEXTS = [
    samples.NEW_LOG,
    samples.OLD_LOG,
    samples.RAS_TEXT,
    samples.RAS_JSON,
    samples.TESTS,
    samples.ETHTOOL,
    samples.SS,
    samples.CONNTRACK,
    samples.NSTAT,
    samples.RDMA_LINK,
    samples.RDMA_STATISTIC,
    samples.GROUPS,
    rulesets.ruleset(
        [rulesets.iface("fab0"), rulesets.RETURN], [rulesets.field("daddr", "1.2.3.4"), rulesets.REDIRECT]
    ),
]
KEYS = json.loads(
    '["nftables","rule","chain","set","expr","match","left","right","meta","key","payload","field","op","ifname","via",'
    '"addr_info","local","prefixlen","kernel","communicators","ranks","status","SecurityGroups","IpPermissions","dst",'
    '"UserIdGroupPairs","jump","target","hook","prio","out_of_bounds","count"]'
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KEYS))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=24,
)


def mangled(text: str, seed: int) -> str:
    """*text* with a few of its characters removed, doubled or replaced."""
    chance = random.Random(seed)  # noqa: S311 - junk, not a secret
    characters = list(text)
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(characters))
        characters[at] = chance.choice(["", characters[at] * 2, "\x00", "9" * 30, "[", "٣", "\n", ":", '"', "-1"])
    return "".join(characters)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), sample=st.sampled_from(TEXTS), seed=st.integers(0, 2**32), tree=TREES)
def test_no_parser_raises(name: str, text: str, sample: str, seed: int, tree: object):
    """Anything, a tool's own text that was damaged, and JSON of the right words in the wrong places."""
    for junk in (text, mangled(sample, seed), json.dumps(tree)):
        PARSERS[name](junk)


@pytest.mark.parametrize("name", PARSERS)
def test_nesting_without_end_is_no_answer(name: str):
    """JSON that is deeper than the interpreter's stack."""
    PARSERS[name]("[" * 100_000)
    PARSERS[name]('{"nftables":' * 100_000)


def test_lines_and_facts_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """A line ends at MAX_LINE; no more than MAX_ROWS rows and MAX_FACTS facts are kept."""
    assert [len(line) for _, line in bounded.lines("x" * (MAX_LINE + 1))] == [MAX_LINE]
    line = "tcp 6 1 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1\n"
    monkeypatch.setattr(conntrack, "MAX_ROWS", 7)
    assert len(flows(line * 9, "p").found) == 7
    assert len(links(json.dumps([{"ifname": "a"}] * (MAX_FACTS + 5)))) == MAX_FACTS


def test_lines_end_at_line_feeds_alone():
    """Line numbers agree with an editor's, whatever else Unicode calls a line's end."""
    assert list(bounded.lines("a\x0b\u2028b\r\nc")) == [(1, "a\x0b\u2028b"), (2, "c")]


def test_numbers_are_ascii_and_not_negative():
    """Digits of other scripts and booleans are none."""
    assert [bounded.whole(one) for one in ("12", 7, "-1", -1, "٣", True, "9" * 21, None)] == [12, 7, *[None] * 6]
    assert [bounded.decimal(one) for one in ("1.5", 2, "1e9", "nan", "inf", "-1")] == [1.5, 2.0, *[None] * 4]
    assert [str(bounded.address(one)) for one in ("::ffff:10.0.0.1", "[fe80::1%e0]", "x")] == [
        "10.0.0.1",
        "fe80::1",
        "None",
    ]


def test_results_are_frozen():
    """A signature cannot change what another one reads."""
    with pytest.raises(FrozenInstanceError):
        nccl_log("", "p").path = "q"  # type: ignore[misc]
