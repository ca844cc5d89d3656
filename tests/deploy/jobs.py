"""What `deploy/kubernetes` has for operators of jobs: objects, the pods in them, and the fields of their kinds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringfence.policy.load import load_documents
from ringfence.policy.model import Model
from tests.fabric.emit.schemas import objects

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
TENANT = KUBERNETES / "tenant.yaml"
ADAPTERS = ("kubeflow-trainer", "kuberay", "mpi-operator")
NOW = datetime(2026, 12, 1, tzinfo=UTC)
_JOB_KINDS = {"TrainingRuntime", "RayCluster", "MPIJob"}


def manifests(adapter: str) -> list[dict[str, Any]]:
    """Every object of an adapter's folder, the intent left out."""
    files = sorted(path for path in (KUBERNETES / adapter).glob("*.yaml") if path.name != "intent.yaml")
    return [body for path in files for body in objects(path.read_text())]


def intent(adapter: str) -> Model:
    """What its documents mean; they are in order."""
    text = f"kind: Mesh\nspec: {{trustDomain: example.org}}\n---\n{(KUBERNETES / adapter / 'intent.yaml').read_text()}"
    loaded = load_documents([("intent.yaml", text)], now=NOW)
    assert loaded.model is not None, loaded.findings
    return loaded.model


def pods(adapter: str) -> Iterator[dict[str, Any]]:
    """The template of each kind of pod that the adapter's objects make."""
    for body in manifests(adapter):
        if body["kind"] in _JOB_KINDS:
            yield from _templates(body["spec"])


def _templates(value: Any) -> Iterator[dict[str, Any]]:
    """Whatever has containers in its spec, however deep."""
    if isinstance(value, list):
        for inner in value:
            yield from _templates(inner)
    elif isinstance(value, dict):
        if "containers" in value.get("spec", {}):
            yield value
        else:
            for inner in value.values():
                yield from _templates(inner)


def _anything(_: Any) -> None:
    """Of a pod's template, which a real API server judges."""


# By hand, from the API types of each project: kubeflow/trainer 8c0f5059 pkg/apis/trainer/v1alpha1, ray-project/kuberay
# feeaf72f ray-operator/apis/ray/v1, kubeflow/mpi-operator caa3c47 pkg/apis/kubeflow/v2beta1, and JobSet v1alpha2.
_REPLICATED = {
    "name": str,
    "template": {"metadata": {"labels": _anything}, "spec": {"template": _anything}},
}
_ROLE = {"replicas": int, "template": _anything}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "TrainingRuntime": (
        "trainer.kubeflow.org/v1alpha1",
        {
            "mlPolicy": {"numNodes": int, "torch": {}},
            "template": {"spec": {"replicatedJobs": [_REPLICATED]}},
        },
    ),
    "TrainJob": (
        "trainer.kubeflow.org/v1alpha1",
        {
            "runtimeRef": {"apiGroup": ("trainer.kubeflow.org",), "kind": ("TrainingRuntime",), "name": str},
            "trainer": {"numNodes": int, "args": [str]},
        },
    ),
    "RayCluster": (
        "ray.io/v1",
        {
            "rayVersion": str,
            "authOptions": {"mode": ("token",)},
            "tlsOptions": {"enabled": (True,)},
            "headGroupSpec": {"rayStartParams": {"dashboard-host": ("127.0.0.1",)}, "template": _anything},
            "workerGroupSpecs": [
                {
                    "groupName": str,
                    "replicas": int,
                    "minReplicas": int,
                    "maxReplicas": int,
                    "rayStartParams": {},
                    "template": _anything,
                }
            ],
        },
    ),
    "MPIJob": (
        "kubeflow.org/v2beta1",
        {
            "slotsPerWorker": int,
            "mpiImplementation": ("OpenMPI",),
            "sshAuthMountPath": str,
            "runPolicy": {"cleanPodPolicy": ("Running",)},
            "mpiReplicaSpecs": {"Launcher": _ROLE, "Worker": _ROLE},
        },
    ),
}
