"""Pods for tests: values, and the library's objects that they are read from."""

from __future__ import annotations

from typing import Any

from ringfence.broker.attest.k8s_pod import Pod

UID = "0b6ee3d0-5a4a-4ad9-8d5a-4a3f4f2f1a10"
OTHER_UID = "77777777-5a4a-4ad9-8d5a-4a3f4f2f1a10"
CONTAINER_ID = "c1" * 32
INIT_ID = "d2" * 32
DEBUG_ID = "e3" * 32
IMAGE, DIGEST = "registry.example/trainer:1.4", "registry.example/trainer@sha256:" + "a" * 64


def pod(uid: str = UID, name: str = "trainer-0", **fields: Any) -> Pod:
    """A pod of team-a on node-1."""
    return Pod(uid, "team-a", name, fields.pop("service_account", "trainer"), "node-1", **fields)


def status(name: str, container_id: str, image: str = IMAGE, digest: str = "") -> dict[str, Any]:
    """What a kubelet reports of a container; started when *container_id* is given."""
    started = f"containerd://{container_id}" if container_id else ""
    return {
        "name": name,
        "image": image,
        "imageID": digest,
        "containerID": started,
        "ready": bool(started),
        "restartCount": 0,
        "state": {"running": {}} if started else {"waiting": {"reason": "ContainerCreating"}},
    }


def manifest(name: str = "trainer-0", **metadata: Any) -> dict[str, Any]:
    """A pod of team-a as its JSON, bound to node-1."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team-a", **metadata},
        "spec": {
            "serviceAccountName": "trainer",
            "nodeName": "node-1",
            "containers": [{"name": "main", "image": IMAGE}],
        },
    }
