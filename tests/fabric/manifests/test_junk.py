"""Manifests of any form, by anybody: nothing in there makes the checks fail, or lets them run for ever."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ringfence.fabric.manifests.check import check
from ringfence.fabric.manifests.knobs import KNOBS
from tests.fabric.manifests.samples import GRANTED
from tests.policy.intent import NOW, model_of

KEYS = st.sampled_from(
    [
        *("kind", "metadata", "spec", "containers", "initContainers", "volumes", "hostPath", "path", "template"),
        *(
            "annotations",
            "labels",
            "namespace",
            "name",
            "items",
            "config",
            "vlan",
            "ports",
            "hostPort",
            "containerPort",
        ),
        *("resources", "limits", "securityContext", "privileged", "hostNetwork", "data", "type", "env", "rdmaMode"),
        *("k8s.v1.cni.cncf.io/networks", "rdma/x", *KNOBS),
    ]
)
WORDS = st.sampled_from(
    ["Pod", "List", "Secret", "Service", "SriovNetwork", "NetworkAttachmentDefinition", "/dev", "{", "::/0", "eth0", ""]
)
LEAVES = st.none() | st.booleans() | st.integers(-1, 70000) | WORDS | st.text(max_size=4)
TREES = st.recursive(LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=5))
MODEL = model_of(*GRANTED)


@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_is_judged(tree: dict[str, object]):
    """With and without grants; each finding is at a line."""
    text = json.dumps(tree)
    for model in (MODEL, None):
        assert all(one.line >= 1 for one in check([("a.json", text)], model, NOW))


@given(st.text(alphabet="Default=0x7ffff:ALL,;#\n ", max_size=80))
def test_any_partition_file_is_judged(text: str):
    """A line of it is named, if any."""
    assert all(1 <= one.line <= text.count("\n") + 1 for one in check([("p.conf", text)], None, NOW))


def test_a_long_file_without_an_end_is_read_once():
    """However many beginnings it has."""
    assert check([("p.conf", "Default=0x7fff:" * 200_000)], None, NOW) == ()
