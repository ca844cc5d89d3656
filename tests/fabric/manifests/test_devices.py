"""Means to take a fabric over, in pods, templates of pods and what gives them out."""

from __future__ import annotations

import pytest

from tests.fabric.manifests.samples import JOB, POD, codes, found

VOLUME = "  volumes: [{name: d, hostPath: {path: PATH}}]\n"


def test_what_is_right_is_nothing_to_look_at():
    """A device from a plugin, and no more."""
    assert codes(POD, JOB) == []


@pytest.mark.parametrize("path", ["/dev/infiniband", "/dev/infiniband/", "/dev", "/", "/dev/infiniband/issm0"])
def test_devices_of_the_subnet_manager(path: str):
    """As a part of a folder, too; with the line of the path and the threat."""
    (one,) = found(POD + VOLUME.replace("PATH", path))
    assert (one.code, one.line, one.threats[0]) == ("RF6101", 12, "FAB-03")


def test_a_single_device_is_what_a_pod_needs():
    """And a host path of a pod without RDMA is none of ours."""
    assert codes(POD + VOLUME.replace("PATH", "/dev/infiniband/uverbs0")) == []
    assert codes(POD.replace("rdma/hca_a", "cpu") + VOLUME.replace("PATH", "/dev")) == []


@pytest.mark.parametrize(
    "why",
    [
        "resources: {limits: {rdma/hca_a: 1}}",
        "resources: {requests: {vpc.amazonaws.com/efa: 4}}",
        "resources: {limits: {nvidia.com/mlnxnics: 1}}",
        "resources: {limits: {example.com/ib_vf: 1}}",
        "env: [{name: NCCL_IB_HCA, value: mlx5}]",
    ],
)
def test_privileges_and_the_nodes_network_with_rdma(why: str):
    """In a template of whatever makes pods, and in an init container too."""
    text = JOB.replace(
        "resources: {limits: {rdma/hca_a: 1}}", f"{why}\n          securityContext: {{privileged: true}}"
    )
    assert codes(text) == ["RF6102"]
    assert codes(text.replace("containers", "initContainers") + "      containers: []\n") == ["RF6102"]
    assert codes(text.replace("privileged: true", "privileged: false")) == []
    assert codes(JOB.replace("resources: {limits: {rdma/hca_a: 1}}", why) + "      hostNetwork: true\n") == ["RF6103"]


@pytest.mark.parametrize("name", ["cpu", "nvidia.com/gpu", "example.com/library", "ibm.com/x"])
def test_without_rdma_it_is_another_policys(name: str):
    """Nothing is told of pods that use none."""
    assert codes(POD.replace("rdma/hca_a", name) + "  hostNetwork: true\n") == []


def test_objects_of_a_list_and_of_a_namespace_that_is_left_out():
    """As `kubectl get -o yaml` has them."""
    listed = "kind: List\nitems:\n" + "".join(
        f"{'- ' if at == 0 else '  '}{line}\n" for at, line in enumerate((POD + "  hostNetwork: true").splitlines())
    )
    assert [one.line for one in found(listed)] == [14]
    assert found(listed, without=("team-a",)) == []


def test_ufm_that_nobody_verifies():
    """A secret with an address and no certificate."""
    manager = "kind: Secret\nmetadata: {name: ufm, namespace: nvidia}\nstringData: {UFM_ADDRESS: a, UFM_PASSWORD: b}\n"
    assert codes(manager) == ["RF6105"]
    assert codes(manager.replace("UFM_PASSWORD", "UFM_CERTIFICATE")) == []


def test_what_cannot_be_read_is_an_error():
    """And not a pass."""
    assert codes("a: [") == ["RF1001"]
    assert codes("a: &x 1") == ["RF1004"]
