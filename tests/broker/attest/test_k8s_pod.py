"""What is read of a pod, and the selectors that it has."""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod as ApiPod

from ringfence.broker.attest.k8s_pod import Container, Pod
from ringfence.certs.selectors import NAMES, Selector
from tests.broker.attest.pods import CONTAINER_ID, DEBUG_ID, DIGEST, IMAGE, INIT_ID, UID, manifest, status


def _read(**statuses: object) -> Pod:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "9-9"}
    found = manifest(uid=UID, labels={"app": "web", "tier": ""}, ownerReferences=[owner]) | {"status": statuses}
    return Pod.read(ApiPod.from_dict(found))


RUNNING = _read(
    containerStatuses=[status("main", CONTAINER_ID, digest=DIGEST), status("side", "", "envoy:1")],
    initContainerStatuses=[status("setup", INIT_ID, "busybox:1")],
    ephemeralContainerStatuses=[status("debug", DEBUG_ID, "shell:1")],
)


def test_a_container_has_the_selectors_that_spire_gives_it() -> None:
    """All fourteen kinds, an image by what was asked for and by digest; a label may be empty."""
    found = {str(selector) for selector in RUNNING.selectors(RUNNING.container(CONTAINER_ID))}
    assert found == {
        "k8s:ns:team-a",
        "k8s:sa:trainer",
        "k8s:node-name:node-1",
        f"k8s:pod-uid:{UID}",
        "k8s:pod-name:trainer-0",
        "k8s:pod-label:app:web",
        "k8s:pod-label:tier:",
        "k8s:pod-owner:Job:train",
        "k8s:pod-owner-uid:Job:9-9",
        "k8s:pod-image-count:2",
        f"k8s:pod-image:{IMAGE}",
        f"k8s:pod-image:{DIGEST}",
        "k8s:pod-image:envoy:1",
        "k8s:pod-init-image-count:1",
        "k8s:pod-init-image:busybox:1",
        "k8s:container-name:main",
        f"k8s:container-image:{IMAGE}",
        f"k8s:container-image:{DIGEST}",
    }


def test_each_selector_can_be_asked_for_and_each_that_can_is_made() -> None:
    """What an entry may say and what is found are the same names."""
    found = RUNNING.selectors(RUNNING.container(CONTAINER_ID))
    assert all(Selector.parse(str(selector)) == selector for selector in found)
    assert {selector.value.partition(":")[0] for selector in found} == NAMES["k8s"]


def test_an_init_container_is_found_and_a_debugging_one_is_not() -> None:
    """Who may attach a debugger to a pod is not the workload."""
    assert RUNNING.container(INIT_ID) == Container("setup", INIT_ID, frozenset({"busybox:1"}))
    assert RUNNING.container(DEBUG_ID) is None


def test_a_container_that_was_not_started_is_nobodys() -> None:
    """The empty id, which is what a path without a container has too."""
    assert _read(containerStatuses=[status("main", "")]).container(CONTAINER_ID) is None


def test_a_pod_without_a_status_has_no_container() -> None:
    """As between its creation and its first report."""
    assert _read().container(CONTAINER_ID) is None
    assert Selector.parse("k8s:sa:trainer") in _read().selectors()
