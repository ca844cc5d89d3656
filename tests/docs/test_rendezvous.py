"""Every document on the page about rendezvous means something, and nothing of it is a finding or a risk."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model
from ringfence.policy.risks import risks

PAGE = (Path(__file__).parents[2] / "docs" / "rendezvous.md").read_text()
PROFILES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
VLLM = PROFILES[-1]
INFERENCE = {("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/health")}
# What vLLM leaves open to whoever reaches it, by its page on security.
OPEN = (
    *("invocations", "pooling", "classify", "score", "rerank", "generative_scoring", "pause", "resume", "tokenize"),
    *("scale_elastic_ep", "init_weight_transfer_engine", "update_weights", "abort_requests", "collective_rpc", "sleep"),
)


def model_of(text: str) -> Model:
    """What it means; whatever is found fails the test."""
    loaded = load_documents([("rendezvous.yaml", text)], default_trust_domain="example.org", now=NOW)
    assert loaded.findings == ()
    assert loaded.model is not None
    return loaded.model


@pytest.mark.parametrize("text", PROFILES)
def test_a_profile_has_neither_findings_nor_risks(text: str) -> None:
    """As `ringfence policy check --fail-on info` has it."""
    assert tuple(risks(model_of(text), NOW)) == ()


def may(caller: str, method: str, path: str) -> bool:
    """Whether that workload of the profile for serving may call vLLM so."""
    source = SpiffeId.parse(f"spiffe://example.org/ns/serving/sa/{caller}")
    return evaluate(model_of(VLLM), Request(source, "serving/vllm", "api", NOW, method, path)).allowed


def test_whoever_infers_can_do_nothing_else() -> None:
    """Neither change weights nor read what it is not asked for, by whatever method."""
    assert all(may("gateway", method, path) for method, path in INFERENCE)
    assert not any(may("gateway", method, f"/{path}") for path in OPEN for method in ("GET", "POST"))
    assert not may("gateway", "POST", "/v1/../update_weights")


def test_whoever_changes_weights_cannot_infer() -> None:
    """It is let into what it is for."""
    allowed = {path for path in OPEN if may("learner", "POST", f"/{path}")}
    assert allowed == {"pause", "resume", "init_weight_transfer_engine", "update_weights"}
    assert not any(may("learner", method, path) for method, path in INFERENCE)
