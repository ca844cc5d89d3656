"""The k8s attestor: which pod and container a process is in by its cgroup, and what the cluster's API says of them."""

from __future__ import annotations

from ringfence.broker.attest import process_trees
from ringfence.broker.attest.k8s_pod import KIND, Container, Pod
from ringfence.broker.attest.k8s_pods import Pods
from ringfence.broker.attest.port import Partly
from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import NAMES, Selector

PATIENCE = 5.0  # seconds for the kubelet to report a container that has just started
_UID = "pod-uid"
_UID_LENGTH = 36  # of those that the API gives out


class KubernetesAttestor:
    """SPIRE's selectors of a pod and its container, from *pods* in memory: no attestation asks the API."""

    name = KIND
    facts = frozenset(f"{KIND}:{name}" for name in NAMES[KIND])

    def __init__(self, pods: Pods, *, patience: float = PATIENCE) -> None:
        self._pods = pods
        self._patience = patience

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """The k8s selectors of *process*, none outside of pods; always the pod's UID, so that a change finds it."""
        from ringfence.broker.attest import cgroup_paths

        # 1. The pod and the container, by the names that only root could give their cgroups.
        uid, container_id = cgroup_paths.pod(process_trees.cgroups(process.pid))
        if not uid:
            return frozenset()
        known = frozenset({uid_selector(uid)})
        # 2. A static pod has another UID in the API, and whoever may write pods could claim its hash.
        if not self.facts & wanted - {f"{KIND}:{_UID}"} or len(uid) != _UID_LENGTH:
            return known
        # 3. Of the very pod, on this node, in which the kubelet says that this container is: not a debugger's.
        patience = 0 if self._pods.is_gone(uid) else self._patience
        found = await self._pods.expect(lambda: self._find(uid, container_id), patience)
        if found is None:
            raise Partly(self._missing(uid, container_id), known)
        pod, container = found
        selectors = known | {each for each in pod.selectors(container) if _fact(each) in wanted}
        # 4. What is known is used during an outage, and it is said that it may be old.
        if self._pods.outage:
            raise Partly(f"the pod as it was: {self._pods.outage}", selectors)
        return selectors

    def _find(self, uid: str, container_id: str) -> tuple[Pod, Container] | None:
        pod = self._pods.find(uid=uid)
        container = pod.container(container_id) if pod and container_id else None
        return (pod, container) if pod and container else None

    def _missing(self, uid: str, container_id: str) -> str:
        if self._pods.outage:
            return self._pods.outage
        if self._pods.find(uid=uid) is None:
            return f"the Kubernetes API knows no pod {uid} on this node"
        return f"the status of pod {uid} does not show the container {container_id or 'of this process'} (yet)"


def uid_selector(uid: str) -> Selector:
    """What every process of that pod has."""
    return Selector(KIND, f"{_UID}:{uid}")


def _fact(selector: Selector) -> str:
    return f"{KIND}:{selector.value.partition(':')[0]}"
