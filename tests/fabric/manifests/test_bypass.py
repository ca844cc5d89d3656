"""Annotations that take traffic out of the proxies: a grant gives leave for its own fabric, and for nothing else."""

from __future__ import annotations

import pytest

from ringfence.fabric.manifests.knobs import EXCLUDE_INTERFACES, KNOBS, Takes
from tests.fabric.manifests.samples import GRANTED, JOB, POD, annotated, codes, found
from tests.policy.intent import GRANT, NOW

NETWORKS = 'k8s.v1.cni.cncf.io/networks: "rail"'
RANGES = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
# A value by which each knob takes something out.
TURNED = {
    "sidecar.istio.io/interceptionMode": "NONE",
    "istio.io/dataplane-mode": "none",
    "ambient.istio.io/bypass-inbound-capture": "true",
    "linkerd.io/inject": "disabled",
    "sidecar.istio.io/inject": "false",
    RANGES: "192.168.50.0/24",
    "config.linkerd.io/skip-subnets": "192.168.50.0/24",
    EXCLUDE_INTERFACES: "ib0",
}


@pytest.mark.parametrize("key", KNOBS)
def test_without_a_grant_every_knob_is_told(key: str):
    """Where it is written; in a pod and in a template; and not at a value that takes nothing out."""
    value = TURNED.get(key, "29500")
    (one,) = found(annotated(POD, f'{key}: "{value}"'))
    assert (one.code, one.line, one.threats) == ("RF6106", 6, ("FAB-05", "AML.TA0007"))
    assert codes(annotated(JOB, f'{key}: "{value}"')) == ["RF6106"]
    knob = KNOBS[key]
    harmless = next(iter(knob.unless)) if knob.unless else "true" if "inject" in key else "x"
    assert codes(annotated(POD, f'{key}: "{harmless}"')) == ([] if not knob.turned(harmless) else ["RF6106"])
    assert not knob.turned(harmless) or key == "ambient.istio.io/bypass-inbound-capture"


def test_a_word_without_quotes_is_that_word():
    """YAML's own false."""
    assert codes(annotated(POD, "sidecar.istio.io/inject: false")) == ["RF6106"]
    assert codes(POD.replace('annotations: {x: "1"}', "labels: {sidecar.istio.io/inject: false}")) == ["RF6106"]


@pytest.mark.parametrize("key", [key for key, knob in KNOBS.items() if knob.takes in {Takes.ALL, Takes.PORTS}])
def test_no_grant_is_for_all_traffic_or_for_ports_everywhere(key: str):
    """It is for a fabric."""
    assert codes(annotated(POD, f'{key}: "{TURNED.get(key, "29500")}"'), intent=GRANTED) == ["RF6107"]


def test_a_grant_is_for_the_networks_of_its_fabric():
    """And for what is within them; each of several counts."""
    for ok in ("192.168.50.0/24", "192.168.50.0/25, 192.168.50.128/25"):
        assert codes(annotated(POD, f'{RANGES}: "{ok}"'), intent=GRANTED) == []
    for wider in ("192.168.0.0/16", "0.0.0.0/0", "10.0.0.1/32", "192.168.50.0/24,10.0.0.0/8", "x", "::/0"):
        assert codes(annotated(POD, f'{RANGES}: "{wider}"'), intent=GRANTED) == ["RF6107"]


def test_a_grant_is_for_the_interfaces_of_its_fabric():
    """By the document's names, or whatever the CNI calls the pod's second one; never the first."""
    assert codes(annotated(POD, f"{EXCLUDE_INTERFACES}: ib0"), intent=GRANTED) == []
    assert codes(annotated(POD, f"{EXCLUDE_INTERFACES}: net1"), intent=GRANTED) == ["RF6107"]
    assert codes(annotated(POD, f"{EXCLUDE_INTERFACES}: net1", NETWORKS), intent=GRANTED) == []
    for primary in ("eth0", '"net1,eth0"', "lo"):
        assert codes(annotated(POD, f"{EXCLUDE_INTERFACES}: {primary}", NETWORKS), intent=GRANTED) == ["RF6107"]


def test_a_grant_is_for_its_identity_and_until_its_end():
    """Another service account has none, nor has anybody after it."""
    text = annotated(POD, f"{EXCLUDE_INTERFACES}: ib0")
    assert codes(text.replace("trainer", "default"), intent=GRANTED) == ["RF6106"]
    assert codes(text.replace("team-a", "team-b"), intent=GRANTED) == ["RF6106"]
    ended = GRANT.replace("2027-01-31T00:00:00Z", NOW.isoformat())
    assert codes(text, intent=(*GRANTED[:3], ended)) == ["RF6106"]


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("[{k8s.ns: team-a, k8s.sa: runner}]", []),
        ("[{unix.uid: 7}, {k8s.ns: team-a, k8s.sa: runner}]", []),
        ("[{k8s.ns: team-a, k8s.sa: other}]", ["RF6106"]),
        ("[{unix.uid: 7}, {k8s.ns: team-a, k8s.sa: other}]", ["RF6106"]),
        ("[{k8s.ns: team-b, k8s.sa: runner}]", ["RF6106"]),
    ],
)
def test_a_workload_is_recognised_by_its_selectors(match: str, said: list[str]):
    """Where they are of Kubernetes, the name is only a name."""
    mesh, trainer, fabric, grant = GRANTED
    trainer = trainer.replace("[{unix.uid: 1001}]", match)
    text = annotated(POD, f"{EXCLUDE_INTERFACES}: ib0").replace("trainer", "runner")
    assert codes(text, intent=(mesh, trainer, fabric, grant)) == said


def test_a_sidecar_takes_a_second_interface_that_nobody_left_out():
    """Injected by the pod or by its namespace."""
    injected = 'sidecar.istio.io/inject: "true"'
    namespace = "kind: Namespace\nmetadata: {name: team-a, labels: {istio-injection: enabled}}\n"
    (one,) = found(annotated(POD, NETWORKS, injected))
    assert (one.code, one.threats[0]) == ("RF6110", "FAB-04")
    assert codes(annotated(POD, NETWORKS), namespace) == ["RF6110"]
    assert codes(annotated(POD, NETWORKS)) == []
    assert codes(annotated(POD, injected)) == []
    assert codes(annotated(POD, NETWORKS, injected, f"{EXCLUDE_INTERFACES}: net1"), intent=GRANTED) == []
