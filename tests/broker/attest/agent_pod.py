"""The pod of an agent in a real Kubernetes API: the account, the node, and the tokens that a kubelet would project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from lightkube.resources.core_v1 import Node, Pod

from ringfence.broker.attest.k8s_clusters import AUDIENCE, Cluster
from tests.kubernetes import ISSUER, RBAC, Kubernetes

NAMESPACE, ACCOUNT = "ringfence", "ringfence-agent"


@dataclass(frozen=True, slots=True)
class AgentPod:
    """An agent on a node of its own."""

    kubernetes: Kubernetes
    pod: Pod
    node: Node

    @classmethod
    def of(cls, kubernetes: Kubernetes, account: str = ACCOUNT) -> AgentPod:
        """A new one."""
        kubernetes.apply_file(RBAC)
        kubernetes.account(NAMESPACE, account)
        name = f"node-{uuid4().hex[:8]}"
        labels = {"topology.kubernetes.io/zone": "a", "secret": "x"}
        kubernetes.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"agent-{name}", "namespace": NAMESPACE, "labels": {"app": "agent"}},
            "spec": {
                "serviceAccountName": account,
                "nodeName": name,
                "containers": [{"name": "agent", "image": "ringfence"}],
            },
        }
        return cls(kubernetes, kubernetes.run_pod(pod), kubernetes.admin.get(Node, name))

    def token(self, audiences: Sequence[str] = (AUDIENCE,), *, bound: bool = True) -> str:
        """Bound to the pod, unless not."""
        assert self.pod.spec is not None
        account = self.pod.spec.serviceAccountName or ""
        return self.kubernetes.token(NAMESPACE, account, audiences, self.pod if bound else None)

    def cluster(self, **fields: Any) -> Cluster:
        """What a server is told of it: to ask with the rights of the manifest and no others."""
        token = self.kubernetes.token(NAMESPACE, "ringfence-server", [ISSUER])
        accounts = frozenset({f"{NAMESPACE}:{ACCOUNT}"})
        return Cluster("test", accounts, self.kubernetes.kubeconfig(token), **fields)
