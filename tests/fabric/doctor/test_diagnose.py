"""The answer to the question that people ask: a firewall, a proxy or a layer-3 hop, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.fabric.doctor import evidence, ss
from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.doctor.diagnose import NO_SIGN, NOT_LOOKED, YES, diagnose, judgeable
from ringfence.fabric.doctor.evidence import Declared, Evidence
from ringfence.fabric.doctor.gather import KINDS, Text, gather
from ringfence.fabric.doctor.signatures import SIGNATURES
from tests.fabric.doctor import samples
from tests.fabric.doctor.rulesets import REDIRECT, ruleset

FABRIC = Declared(("fab0",), ("ctl0",), tuple(n for n in [network("10.91.0.0/24")] if n), 9000)


def test_without_evidence_nothing_is_known():
    """An empty answer is not a clean bill of health."""
    told = diagnose(Evidence())
    assert told.findings == ()
    assert [one.verdict for one in told.answers] == [NOT_LOOKED] * 3
    assert told.not_judged == tuple(SIGNATURES)


def test_a_captured_fabric():
    """The proxy is named with the code; of the rest it says how far it looked."""
    texts = [Text("nft", "nft", ruleset([REDIRECT])), Text("nccl-log", "l", ""), Text("route", "r", "")]
    told = diagnose(gather(FABRIC, texts))
    assert [str(one) for one in told.answers] == [
        f"firewall: {NO_SIGN} (logs)",
        f"proxy: {YES} (RF6011)",
        f"layer-3 hop: {NO_SIGN} (routes)",
    ]
    assert "RF6011" not in told.not_judged
    assert "RF6012" in told.not_judged


def test_a_fabric_that_nobody_declared_is_not_judged():
    """Tables are there and say nothing of it: that is no clean bill of health either."""
    texts = [Text(kind, "p", "") for kind in KINDS if kind not in {"nccl-log", "security-groups"}]
    told = diagnose(gather(Declared(), texts))
    assert [(one.way, one.verdict) for one in told.answers if one.way != "firewall"] == [
        ("proxy", NOT_LOOKED),
        ("layer-3 hop", NOT_LOOKED),
    ]
    assert {"RF6005", "RF6007", "RF6011", "RF6012", "RF6014", "RF6015"} <= set(told.not_judged)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (Declared(("fab0",)), "nft"),
        (replace(FABRIC, mtu=9000), "packet sizes"),
        (FABRIC, "interfaces in logs"),
        (replace(FABRIC, tenants=1), "rdma-system"),
    ],
)
def test_what_a_declaration_lets_judge(declared: Declared, kind: str):
    """Each with what is needed for it, and not without."""
    texts = [Text(name, "p", "") for name in KINDS]
    assert kind in judgeable(gather(declared, texts))
    assert kind not in judgeable(gather(Declared(), texts))


def test_a_table_that_was_cut_is_named(monkeypatch: pytest.MonkeyPatch):
    """What was left out could have shown it."""
    for module in (ss, evidence):
        monkeypatch.setattr(module, "MAX_ROWS", 3)
    row = "ESTAB 0 0 10.91.0.1:1 10.91.0.2:2\n"
    assert gather(FABRIC, [Text("ss", "all.txt", row * 4), Text("ss", "one.txt", row)]).cut() == ("all.txt",)


def test_findings_are_told_once_and_in_order():
    """The same log given twice is one log."""
    log = Text("nccl-log", "l", samples.NEW_LOG)
    told = diagnose(gather(FABRIC, [log, log]))
    assert [one.code for one in told.findings] == ["RF6006", "RF6008", "RF6017"]


SAMPLES = st.sampled_from([value for value in vars(samples).values() if isinstance(value, str)])
TEXTS = st.builds(
    Text, st.sampled_from(sorted(KINDS)), st.just("p"), SAMPLES, st.sampled_from(["", "fab0"]), st.booleans()
)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_no_signature_raises(texts: list[Text]):
    """Any tool's text as any kind."""
    told = diagnose(gather(FABRIC, texts, samples.SYSFS))
    assert all(one.path and one.line >= 1 and one.hint for one in told.findings)
