"""References by Kubernetes object: the pods of this node, as the cluster's API has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ringfence.broker.attest.k8s_pod import Pod
from ringfence.broker.attest.k8s_pods import Pods
from ringfence.broker.attest.launch import Launch
from ringfence.broker.broker_api.refusals import invalid_reference, not_found
from ringfence.certs.selectors import Selector
from ringfence.proto.status import Code, Status

_PODS = ("pods", "core")  # plural and group, as the standard spells the group that has no name
_LONGEST = 253  # of a name, a namespace or a UID in Kubernetes


@dataclass(frozen=True, slots=True)
class PodWorkload:
    """One pod, by its UID, which no other ever has; what is true of it is what the API says now."""

    pods: Pods
    uid: str

    @property
    def selectors(self) -> frozenset[Selector]:
        """Those of the pod; of no container in it, and of no process."""
        pod = self.pods.find(uid=self.uid)
        return pod.selectors() if pod is not None else frozenset()

    def check(self) -> None:
        """Raise NOT_FOUND once it is gone."""
        if self.pods.find(uid=self.uid) is None:
            raise _gone(self.uid)

    def may_be_of(self, launch: Launch) -> bool:  # noqa: ARG002  # the port's signature
        """Launchers vouch for processes."""
        return False

    def lost_its_launcher(self) -> bool:
        """It never had one."""
        return False

    def look_up(self) -> None:
        """There is nobody to ask."""


@dataclass(frozen=True, slots=True)
class PodResolver:
    """KubernetesObjectReference, of pods."""

    pods: Pods

    @asynccontextmanager
    async def held(self, reference: Any, ended: Callable[[Status], None]) -> AsyncIterator[PodWorkload]:
        """The pod; its end is told as soon as the API tells it."""
        pod = self._find(reference)

        def changed(uid: str) -> None:
            if uid == pod.uid and self.pods.find(uid=uid) is None:
                ended(_gone(uid))

        stop = self.pods.listen(changed)
        try:
            yield PodWorkload(self.pods, pod.uid)
        finally:
            stop()

    def _find(self, reference: Any) -> Pod:
        kind, key, uid = reference.type, reference.key, reference.uid
        # 1. It can name a pod: by key or by UID, and a key of something that has a namespace is whole.
        if (kind.plural, kind.group) != _PODS:
            raise invalid_reference("this agent resolves `pods` of the group `core`", plural=kind.plural[:_LONGEST])
        if bool(key.namespace) != bool(key.name):
            raise invalid_reference("the key of a pod is its namespace and its name")
        if not uid and not key.name:
            raise invalid_reference("a pod is named by its key, its uid, or both")
        if max(map(len, (uid, key.namespace, key.name))) > _LONGEST:
            raise invalid_reference("no name in Kubernetes is so long")
        # 2. It is here. Of a pod that has both, both agree: a new pod under an old name is another workload.
        pod = self.pods.find(uid=uid, namespace=key.namespace, name=key.name)
        if pod is not None:
            return pod
        # 3. While the API can't be asked, nobody knows that there is none.
        if self.pods.outage:
            raise Status(Code.UNAVAILABLE, self.pods.outage)
        raise not_found("there is no such pod on this node", uid=uid, namespace=key.namespace, name=key.name)


def _gone(uid: str) -> Status:
    return not_found("the pod is gone", uid=uid)
