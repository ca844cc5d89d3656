"""MultiNetworkPolicy: which pods reach which, as the policies are evaluated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.targets import emit
from ringfence.policy.fabrics import PortSpan
from tests.fabric.emit.intents import INTENT, asked
from tests.fabric.emit.schemas import objects

LABEL = "app.kubernetes.io/name"
TCP = asked("multi-network-policy", "tcp", label=LABEL)
TRAINER, TUNER = ("team-a", "trainer"), ("team-b", "tuner")
OTHER_A, OTHER_B, STRANGER = ("team-a", "web"), ("team-b", "web"), ("team-c", "trainer")
POLICIES = objects(emit(TCP))
Pod = tuple[str, str]


def selects(selector: dict[str, Any], name: str) -> bool:
    """Whether a pod whose label says *name* is meant."""
    return all(
        expression["key"] == LABEL and name in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


def is_peer(peer: dict[str, Any], pod: Pod) -> bool:
    """Both selectors hold."""
    (namespace,) = peer["namespaceSelector"]["matchLabels"].values()
    return bool(namespace == pod[0]) and selects(peer["podSelector"], pod[1])


def permits(policies: list[dict[str, Any]], pod: Pod, other: Pod, port: int, way: tuple[str, str]) -> bool:
    """As Kubernetes says it: what selects a pod denies, but for what any of them allows."""
    own = [one["spec"] for one in policies if one["metadata"]["namespace"] == pod[0]]
    own = [spec for spec in own if selects(spec["podSelector"], pod[1])]
    rules = [rule for spec in own for rule in spec.get(way[0], [])]
    return not own or any(
        any(is_peer(peer, other) for peer in rule[way[1]])
        and any(one["port"] <= port <= one.get("endPort", one["port"]) for one in rule["ports"])
        for rule in rules
    )


def reaches(given: Asked, source: Pod, target: Pod, port: int = 50500) -> bool:
    """Out of the one and into the other, by what is emitted."""
    return passes(objects(emit(given)), source, target, port)


def passes(policies: list[dict[str, Any]], source: Pod, target: Pod, port: int) -> bool:
    """Both ends have to let it."""
    return permits(policies, source, target, port, ("egress", "to")) and permits(
        policies, target, source, port, ("ingress", "from")
    )


def test_members_of_a_job_reach_one_another_and_nobody_else() -> None:
    """Across namespaces too; who has no grant reaches no member, from whichever namespace."""
    assert reaches(TCP, TRAINER, TUNER)
    assert reaches(TCP, TUNER, TRAINER)
    assert reaches(TCP, TUNER, OTHER_B), "of the job for the whole namespace"
    for one, other in [(OTHER_A, TRAINER), (TRAINER, OTHER_A), (OTHER_B, TRAINER), (STRANGER, TRAINER)]:
        assert not reaches(TCP, one, other)


def test_only_the_ports_of_the_fabric() -> None:
    """The store of PyTorch listens on every address."""
    assert [reaches(TCP, TRAINER, TUNER, port) for port in (29500, 49999, 50000, 51000, 51001)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_a_fabric_without_ports_has_no_rule() -> None:
    """A rule without ports would be one for all of them."""
    one = replace(TCP, fabric=replace(TCP.fabric, ports=()))
    assert all("ingress" not in body["spec"] and "egress" not in body["spec"] for body in objects(emit(one)))
    assert not reaches(one, TRAINER, TUNER)


def test_a_grant_that_has_ended_lets_nobody_in() -> None:
    """What is emitted after its end denies."""
    assert not reaches(replace(TCP, now=datetime(2027, 1, 31, tzinfo=UTC)), TRAINER, TUNER)


def test_who_is_no_tenant_any_more_is_left_out() -> None:
    """Though a grant says so."""
    one = replace(TCP, fabric=replace(TCP.fabric, tenants=("team-a",)))
    assert "team-b" not in emit(one)


def test_single_ports_need_no_newer_version() -> None:
    """Ranges came with v1beta2, which not every back end reads."""
    one = replace(TCP, fabric=replace(TCP.fabric, ports=(PortSpan(50000, 50000),)))
    assert {body["apiVersion"] for body in objects(emit(one))} == {"k8s.cni.cncf.io/v1beta1"}
    assert "endPort" not in emit(one)


def test_all_attachments_are_listed() -> None:
    """A back end takes a peer for one only on a network that the policy is for."""
    listed = {body["metadata"]["annotations"]["k8s.v1.cni.cncf.io/policy-for"] for body in objects(emit(TCP))}
    assert listed == {"team-a/platform-tcp-team-a,team-b/platform-tcp-team-b"}


def test_jobs_of_one_name_are_two() -> None:
    """By the namespace of their grants; no policy overwrites another one."""
    text = INTENT.replace("job: tune,", "job: llm,")
    names = [body["metadata"]["name"] for body in objects(emit(asked(TCP.target, "tcp", text=text, label=LABEL)))]
    assert len(names) == len(set(names)) == 5


@given(pods=st.tuples(*[st.sampled_from([TRAINER, TUNER, OTHER_A, OTHER_B, STRANGER])] * 2), port=st.integers(1, 65535))
def test_nothing_passes_without_a_grant(pods: tuple[Pod, Pod], port: int) -> None:
    """Whoever, whatever port: only the two jobs, and pods that no tenant has among themselves."""
    jobs = [{TRAINER, TUNER}, {TUNER, OTHER_B}]
    granted = any(set(pods) <= job for job in jobs) and port in TCP.fabric.ports[0]
    assert passes(POLICIES, *pods, port) == (granted or set(pods) == {STRANGER})
