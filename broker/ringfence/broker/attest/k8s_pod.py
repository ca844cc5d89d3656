"""One pod as a cluster's API tells of it, and the selectors that are true of a container in it, named as SPIRE does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.certs.selectors import Selector

KIND = "k8s"


@dataclass(frozen=True, slots=True)
class Container:
    """One container that the kubelet reports in the pod's status."""

    name: str
    id: str  # without the runtime's `containerd://`; empty until it was started
    images: frozenset[str]  # as the pod asks for it, and by digest once it was pulled


@dataclass(frozen=True, slots=True)
class Pod:
    """What counts of a pod: two that are equal have the same selectors."""

    uid: str
    namespace: str
    name: str
    service_account: str
    node: str
    labels: frozenset[tuple[str, str]] = frozenset()
    owners: frozenset[tuple[str, str, str]] = frozenset()  # kind, name, uid
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()

    @classmethod
    def read(cls, found: Any) -> Pod:
        """From the library's Pod."""
        meta, spec, status = found.metadata, found.spec, found.status
        return cls(
            meta.uid,
            meta.namespace,
            meta.name,
            spec.serviceAccountName or "",
            spec.nodeName or "",
            frozenset((meta.labels or {}).items()),
            frozenset((owner.kind, owner.name, owner.uid) for owner in meta.ownerReferences or ()),
            _containers(status.containerStatuses if status else ()),
            _containers(status.initContainerStatuses if status else ()),
        )

    def container(self, container_id: str) -> Container | None:
        """The container of that id. One that was added for debugging is not the workload's and is not found."""
        return next((each for each in (*self.containers, *self.init_containers) if each.id == container_id), None)

    def selectors(self, container: Container | None = None) -> frozenset[Selector]:
        """What is true of every process in the pod, and of those in *container*."""
        return frozenset(Selector(KIND, fact) for fact in self._facts(container))

    def _facts(self, container: Container | None) -> Iterator[str]:
        yield from (f"ns:{self.namespace}", f"sa:{self.service_account}", f"node-name:{self.node}")
        yield from (f"pod-uid:{self.uid}", f"pod-name:{self.name}")
        yield from (f"pod-label:{key}:{value}" for key, value in self.labels)
        for kind, name, uid in self.owners:
            yield from (f"pod-owner:{kind}:{name}", f"pod-owner-uid:{kind}:{uid}")
        for what, containers in (("pod", self.containers), ("pod-init", self.init_containers)):
            yield f"{what}-image-count:{len(containers)}"
            yield from (f"{what}-image:{image}" for each in containers for image in each.images)
        if container is not None:
            yield f"container-name:{container.name}"
            yield from (f"container-image:{image}" for image in container.images)


def _containers(statuses: Iterable[Any] | None) -> tuple[Container, ...]:
    return tuple(
        Container(
            each.name,
            (each.containerID or "").partition("://")[2],
            frozenset(image for image in (each.image, each.imageID) if image),
        )
        for each in statuses or ()
    )
