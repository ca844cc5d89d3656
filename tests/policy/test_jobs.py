"""Workloads that are the ranks of a job: what documents may say of them, and whom rules mean by them."""

from __future__ import annotations

import pytest

from ringfence.certs.revocation import Revocations
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from ringfence.policy.scope import upstreams_of
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, codes, load, model_of, only
from tests.policy.test_revoked import identity

JOB = TRAINER.replace(
    "match: [{unix.uid: 1001}]",
    "job: llm, launch: {by: [{unix.uid: 1001}]}, serves: [{name: c10d, port: 29500, protocol: tcp}]",
)
MEET = """
kind: Allow
metadata: {name: meet, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: c10d}], owner: ml, reason: rendezvous}
"""
DOMAIN = TrustDomain("example.test")
LLM = Ranks(DOMAIN, "team-a", "llm")
INDEX = "k8s.pod-label.batch.kubernetes.io/job-completion-index"


def decided(model: Model, path: str, to: str = "team-a/trainer", port: str = "c10d") -> str:
    """By what a call of that path is decided."""
    request = Request(SpiffeId(DOMAIN, path), to, port, NOW, "GET", "/models/team-a/x")
    return evaluate(model, request).decided_by


def test_a_job_is_one_workload_with_an_identity_for_each_rank() -> None:
    """And no other one; its name is its own, beside that of its job."""
    workload = model_of(MESH, JOB, REGISTRY, PULL, MEET).workloads["team-a/trainer"]

    assert workload.identity == LLM
    assert workload.job == "llm"
    assert workload.is_of(LLM.rank(3))
    assert not workload.is_of(SpiffeId(DOMAIN, "/ns/team-a/sa/trainer"))
    assert workload.path == "/ns/team-a/job/llm/rank/{launch.rank}"


@pytest.mark.parametrize("rank", [0, 1, 12, 999_999])
def test_a_rule_for_the_workload_means_each_of_its_ranks(rank: int) -> None:
    """As a caller of others and of each other."""
    model = model_of(MESH, JOB, REGISTRY, PULL, MEET)

    assert decided(model, LLM.rank(rank).path) == "team-a/meet"
    assert decided(model, LLM.rank(rank).path, "shared/registry", "http") == "team-a/pull"


@pytest.mark.parametrize(
    "path",
    [
        "/ns/team-a/sa/trainer",
        "/ns/team-a/job/llm",
        "/ns/team-a/job/llm/rank/1/x",
        "/ns/team-a/job/llm/rank/01",
        "/ns/team-a/job/llm2/rank/1",
        "/ns/team-b/job/llm/rank/1",
    ],
)
def test_a_rule_for_the_workload_means_nobody_else(path: str) -> None:
    """What no rule means is denied."""
    assert decided(model_of(MESH, JOB, REGISTRY, PULL, MEET), path) == "default-deny"


def test_a_rule_for_the_namespace_means_ranks_too() -> None:
    """They are workloads of it; and the workload's own rule speaks first."""
    wide = MEET.replace("from: [{workload: trainer}]", "from: [{namespace: team-a}]").replace("meet", "all-meet")

    assert decided(model_of(MESH, JOB, wide), LLM.rank(1).path) == "team-a/all-meet"
    assert decided(model_of(MESH, JOB, wide, MEET), LLM.rank(1).path) == "team-a/meet"


def test_one_rank_is_revoked_alone() -> None:
    """Called or calling; all of them together never are."""
    model = with_revoked(model_of(MESH, JOB, REGISTRY, PULL, MEET), Revocations.of((), [identity(str(LLM.rank(1)))]))

    assert decided(model, LLM.rank(1).path) == "revoked"
    assert decided(model, LLM.rank(11).path) == "team-a/meet"

    def called(whom: SpiffeId | None) -> str:
        return evaluate(model, Request(LLM.rank(2), "team-a/trainer", "c10d", NOW, called=whom)).decided_by

    assert called(LLM.rank(1)) == "revoked"
    assert called(LLM.rank(3)) == called(None) == "team-a/meet"


def test_ranks_have_a_way_to_each_other_and_other_workloads_none_to_themselves() -> None:
    """One identity would call itself; and so would any other workload's replicas."""
    with_job, without = model_of(MESH, JOB, REGISTRY, PULL, MEET), JOB.replace("job: llm, ", "")
    ways = [upstream.name for upstream in upstreams_of(with_job, with_job.workloads["team-a/trainer"])]
    assert ways == ["registry.shared/http", "trainer.team-a/c10d"]

    plain = model_of(MESH, without, REGISTRY, PULL, MEET)
    assert [u.name for u in upstreams_of(plain, plain.workloads["team-a/trainer"])] == ["registry.shared/http"]


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("job: llm, match: [{k8s.ns: a}]", "RF1104", "which selector holds the rank"),
        (f"job: llm, rank: {INDEX}", "RF1104", "rank is for a job with match"),
        (f"rank: {INDEX}, match: [{{k8s.ns: a}}]", "RF1104", "rank is for a job with match"),
        ("job: llm, rank: k8s.index, match: [{k8s.ns: a}]", "RF1106", "no attestor makes the selector 'k8s.index'"),
        ("job: llm, rank: launch.rank, match: [{k8s.ns: a}]", "RF1106", "said by the launcher"),
        ("job: llm, rank: x509pop.subject, match: [{k8s.ns: a}]", "RF1106", "no attestor makes"),
        ("job: llm, rank: 'k8s.ns}/{k8s.sa', match: [{k8s.ns: a}]", "RF1106", "no attestor makes"),
        ("job: Llm/1, launch: {by: [{unix.uid: 1}]}", "RF1105", "Llm/1"),
    ],
)
def test_what_a_job_cannot_be_is_an_error(spec: str, code: str, says: str) -> None:
    """With the field, and a way out."""
    found = only(load(MESH, f"kind: Workload\nmetadata: {{name: w, namespace: a}}\nspec: {{{spec}}}\n"))

    assert found.code == code
    assert says in found.message


def test_two_workloads_of_one_namespace_are_not_the_ranks_of_one_job() -> None:
    """A rank's identity would not tell them apart; of two namespaces they are two jobs."""
    other = JOB.replace("name: trainer", "name: other")

    assert "RF1220" in codes(load(MESH, JOB, other, REGISTRY, PULL, MEET))
    assert "RF1220" not in codes(load(MESH, JOB, other.replace("namespace: team-a", "namespace: team-b"), MEET))


def test_what_holds_the_rank_is_part_of_the_meaning() -> None:
    """And of a workload that is no job nothing is said, so that its hash stays."""
    matched = JOB.replace("job: llm,", f"job: llm, rank: {INDEX}, match: [{{k8s.ns: a}}],")
    other = matched.replace("job-completion-index", "other")
    revisions = {model_of(MESH, text, MEET).revision for text in (JOB, matched, other, JOB.replace("llm", "other"))}

    assert len(revisions) == 4
