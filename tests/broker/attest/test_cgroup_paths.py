"""Cgroup paths as the managers spell them, and those that a workload could have made itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.attest.cgroup_paths import FACTS, docker, k8s, pod, podman, slurm
from ringfence.certs.selectors import Selector

A, B = "a1" * 32, "b2" * 32
UID = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
UID_ = UID.replace("-", "_")
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    "cgroups",
    [
        pytest.param({"": f"/system.slice/docker-{A}.scope"}, id="v2, systemd driver"),
        pytest.param({"": f"/system.slice/docker-{A}.scope/init"}, id="v2, systemd driver, below its init"),
        pytest.param({"": f"/ml.slice/ml-train.slice/docker-{A}.scope"}, id="v2, systemd driver, --cgroup-parent"),
        pytest.param({"": f"/docker/{A}"}, id="v2, cgroupfs driver"),
        pytest.param({"": f"/docker/{A}/docker/{B}"}, id="v2, Docker in Docker: the outer one"),
        pytest.param({"name=systemd": f"/system.slice/docker-{A}.scope", "": "/"}, id="v1, systemd driver"),
        pytest.param({"cpu,cpuacct": f"/docker/{A}", "pids": f"/docker/{A}"}, id="v1, cgroupfs driver"),
    ],
)
def test_a_docker_container_is_known_by_its_id(cgroups: dict[str, str]) -> None:
    """In every spelling of cgroup version and driver."""
    assert docker(cgroups) == {"container_id": A}


@pytest.mark.parametrize(
    "cgroups",
    [
        pytest.param({"": f"/machine.slice/libpod-{A}.scope"}, id="v2, systemd driver"),
        pytest.param({"": f"/machine.slice/libpod-{A}.scope/container"}, id="v2, systemd driver, payload"),
        pytest.param(
            {"": f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope"}, id="v2, systemd driver, in a pod"
        ),
        pytest.param({"": f"/libpod_parent/libpod-{A}"}, id="v2, cgroupfs driver"),
        pytest.param({"": f"/libpod_parent/{B}/{A}"}, id="v2, cgroupfs driver, in a pod"),
        pytest.param({"name=systemd": f"/machine.slice/libpod-{A}.scope"}, id="v1, systemd driver"),
    ],
)
def test_a_podman_container_is_known_by_its_id(cgroups: dict[str, str]) -> None:
    """Rootful, in every spelling; of a container in a pod the container, not the pod."""
    assert podman(cgroups) == {"container_id": A}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
            id="systemd driver, containerd, burstable",
        ),
        pytest.param(
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope",
            id="systemd driver, CRI-O, best effort",
        ),
        pytest.param(f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope", id="systemd, guaranteed"),
        pytest.param(f"/kubepods.slice/kubepods-pod{UID_}.slice", id="systemd, the pod itself"),
        pytest.param(
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
            id="systemd driver, --cgroup-root",
        ),
        pytest.param(f"/kubepods/burstable/pod{UID}/{A}", id="cgroupfs driver, burstable"),
        pytest.param(f"/kubepods/pod{UID}/{A}", id="cgroupfs driver, guaranteed"),
        pytest.param(f"/kubelet/kubepods/besteffort/pod{UID}/{A}", id="cgroupfs driver, --cgroup-root"),
        pytest.param(
            f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
            id="drivers that do not agree",
        ),
    ],
)
@pytest.mark.parametrize("hierarchy", ["", "name=systemd", "memory"])
def test_a_pod_is_known_by_its_uid(path: str, hierarchy: str) -> None:
    """With dashes as the API has it, whatever the driver, the runtime and the class of the pod, on v2 and v1."""
    assert k8s({hierarchy: path}) == {"pod-uid": UID}


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope", A),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{A}.scope/container", A),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/docker-{A}.scope/docker/{B}", A),
        (f"/kubepods/burstable/pod{UID}/{A}", A),
        (f"/kubepods/burstable/pod{UID}/{A}/{B}", A),
        (f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}/{B}", A),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice", ""),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{A}.scope", ""),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/x/cri-containerd-{A}.scope", ""),
        (f"/kubepods/burstable/pod{UID}/x/{A}", ""),
    ],
)
def test_the_container_is_the_one_right_below_its_pod(path: str, container: str) -> None:
    """What stands deeper is its own doing; a monitor and the pod itself are no container."""
    assert pod({"": path}) == (UID, container)


@pytest.mark.parametrize(
    "path",
    [
        f"/../../kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope/container",
        f"/../../../../kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/x",
        f"/../../pod{UID}/{A}",
        f"/../../../burstable/pod{UID}/{A}/{B}",
        f"/../../../../kubepods/pod{UID}/{A}",
        f"/../kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
    ],
)
def test_an_agent_in_a_pod_sees_the_pods_beside_it(path: str) -> None:
    """Its runtime gave it a cgroup namespace; what is above its own cgroup is the kubelet's."""
    assert pod({"": path}) == (UID, A)
    assert k8s({"": path}) == {}


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"/../cri-containerd-{A}.scope",
        f"/../../kubepods-podx.slice/cri-containerd-{B}.scope/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"/../cri-containerd-{B}.scope/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"/../x/pod{UID}/{A}",
        f"/../../../../user.slice/user-1000.slice/user@1000.service/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"/x/../kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
    ],
)
def test_what_a_workload_made_below_itself_is_no_pod_beside(path: str) -> None:
    """Nor below the agent's own cgroup."""
    assert pod({"": path}) == ("", "")


def test_a_container_in_a_container_is_the_outer_one() -> None:
    """A workload that names a folder like another's pod stays itself."""
    own = f"/../../pod{UID}/{A}/burstable/pod{UID.replace('0', '1')}/{B}"
    assert pod({"": own}) == (UID, A)


def test_hierarchies_that_name_two_containers_name_none() -> None:
    """Nor the pod, if that differs too."""
    one, two = f"/kubepods/pod{UID}/{A}", f"/kubepods/pod{UID}/{B}"
    assert pod({"": one, "pids": two}) == (UID, "")
    assert pod({"": one, "pids": two.replace("0", "1")}) == ("", "")


def test_outside_of_pods_there_is_no_container_of_one() -> None:
    """Whatever the path ends in."""
    assert pod({"": f"/system.slice/docker-{A}.scope"}) == ("", "")


def test_a_static_pod_is_known_by_its_hash() -> None:
    """The kubelet names it by its configuration; the API shows another UID for its mirror."""
    found = k8s({"": f"/kubepods/burstable/pod{'0f' * 16}/{A}"})
    assert found == {"pod-uid": "0f" * 16}


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        pytest.param(
            "/system.slice/slurmstepd.scope/job_3385/step_0/user/task_0", {"job_id": "3385", "step": "0"}, id="step"
        ),
        pytest.param(
            "/system.slice/slurmstepd.scope/job_3385/step_batch/user/task_special",
            {"job_id": "3385", "step": "batch"},
            id="batch script",
        ),
        pytest.param(
            "/system.slice/slurmstepd.scope/job_3385/step_extern/slurm",
            {"job_id": "3385", "step": "extern"},
            id="extern step",
        ),
        pytest.param(
            "/system.slice/slurmstepd.scope/job_3385/step_interactive/user/task_0",
            {"job_id": "3385", "step": "interactive"},
            id="salloc shell",
        ),
        pytest.param(
            "/system.slice/node-7_slurmstepd.scope/job_3385/step_1/user/task_3",
            {"job_id": "3385", "step": "1"},
            id="several slurmd on a machine",
        ),
        pytest.param(
            "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user/task_0",
            {"sluid": "s5K1KKYAYG5D00", "step": "0"},
            id="SLUID, 26.05",
        ),
    ],
)
def test_a_slurm_step_is_known_by_job_and_step(path: str, facts: dict[str, str]) -> None:
    """By the job's number or its SLUID, as Slurm is configured."""
    assert slurm({"": path}) == facts


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"{USER}/docker-{A}.scope",
        f"{USER}/app.slice/docker-{A}.scope",
        f"{USER}/user.slice/libpod-{A}.scope/container",
        f"{USER}/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
        f"{USER}/kubepods/pod{UID}/{A}",
        f"{USER}/system.slice/slurmstepd.scope/job_1/step_0/user/task_0",
        f"/system.slice/web.service/docker/{A}",
        f"/system.slice/web.service/docker-{A}.scope",
        f"/system.slice/web.service/libpod-payload-{A}",
        f"/machine.slice/libpod-conmon-{A}.scope",
        f"/../../system.slice/docker-{A}.scope",
        f"/../docker/{A}",
        f"/docker/{A[:12]}",
        f"/docker/{A.upper()}",
        f"/docker/{A}x",
        f"/docker/{A}\n",
        f"/kubepods/pod{UID}x/{A}",
        "/kubepods/burstable",
        f"/slurmstepd.scope/job_1/step_0/{A}",
        "/slurm/uid_1000/job_1/step_0",
        "/system.slice/slurmstepd.scope/job_1",
        "/system.slice/slurmstepd.scope/job_1/user/step_0",
        "/system.slice/slurmstepd.scope/job_x/step_0",
        "/system.slice/slurmstepd.scope/job_1/step_../user",
        "/system.slice/slurmstepdxscope/job_1/step_0",
        "/system.slice/fake/slurmstepd.scope/job_1/step_0",
        f"/system.slice/docker-{A}.scope.d",
    ],
)
@pytest.mark.parametrize("hierarchy", ["", "name=systemd", "pids"])
def test_what_a_workload_could_have_named_itself_names_nothing(path: str, hierarchy: str) -> None:
    """Below a user's own manager, below a delegated unit, from another namespace, or nearly right."""
    assert [reader({hierarchy: path}) for reader in FACTS.values()] == [{}] * 4


def test_hierarchies_that_contradict_each_other_name_nothing() -> None:
    """Somebody moved the process in one of them; which one is true, nobody can tell."""
    assert docker({"pids": f"/docker/{A}", "memory": f"/docker/{B}"}) == {}
    assert docker({"pids": f"/docker/{A}", "memory": "/"}) == {"container_id": A}


def test_a_hierarchy_that_anyone_may_own_is_not_looked_at() -> None:
    """A named hierarchy of somebody's own is no manager's."""
    assert docker({"name=mine": f"/docker/{A}"}) == {}
    assert slurm({"name=systemd": "/system.slice/slurmstepd.scope/job_1/step_0/user"}) == {}


@given(st.dictionaries(st.sampled_from(["", "name=systemd", "pids"]), st.text(max_size=200)))
def test_whatever_stands_there_makes_selectors_or_none(cgroups: dict[str, str]) -> None:
    """What is made can be spelled in an entry."""
    for kind, reader in FACTS.items():
        for name, value in reader(cgroups).items():
            Selector.parse(f"{kind}:{name}:{value}")
