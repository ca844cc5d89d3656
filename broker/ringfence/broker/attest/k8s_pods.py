"""The pods of this node, in memory: as last heard of the cluster's API, and who wants to know when one changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from ringfence.broker.attest.k8s_pod import Pod

T = TypeVar("T")
Listener = Callable[[str], None]  # given the pod's UID
_GONE_KEPT = 4096  # UIDs of pods that went; none is given out twice


class Pods:
    """Found by UID or by namespace and name. A pod that changed is another value; one that is gone is not found."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._gone: dict[str, None] = {}  # in the order that they went
        self._listeners: list[Listener] = []
        self._changed = asyncio.Event()
        self.outage = "the Kubernetes API was not reached yet"  # why what is held may be old; empty: it is not

    def __len__(self) -> int:
        return len(self._pods)

    def find(self, *, uid: str = "", namespace: str = "", name: str = "") -> Pod | None:
        """The pod that all that is given agrees on: *uid*, or *namespace* and *name*, or the three."""
        known = self._uids.get((namespace, name), "") if name else uid
        return self._pods.get(known) if not uid or uid == known else None

    def is_gone(self, uid: str) -> bool:
        """Whether it was here, and will not come again."""
        return uid in self._gone

    async def expect(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """What *look* finds, now or as soon as pods change; None when *seconds* went by in vain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (found := look()) is None:
                    await self._changed.wait()
                return found
        return None

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell *listener* the UID of each pod that comes, changes or goes; returns what stops that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def put(self, pod: Pod) -> None:
        """*pod* is there; another of the same name is gone then."""
        if self._pods.get(pod.uid) == pod:
            return
        key = (pod.namespace, pod.name)
        before = self._uids.get(key, pod.uid)
        if before != pod.uid:
            self.remove(before)
        self._pods[pod.uid], self._uids[key] = pod, pod.uid
        self._tell(pod.uid)

    def remove(self, uid: str) -> None:
        """It is gone; twice is once."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            del self._uids[pod.namespace, pod.name]
            self._gone[uid] = None
            if len(self._gone) > _GONE_KEPT:
                del self._gone[next(iter(self._gone))]
            self._tell(uid)

    def replace(self, pods: Iterable[Pod]) -> None:
        """These and no others are there."""
        found = {pod.uid: pod for pod in pods}
        for uid in self._pods.keys() - found.keys():
            self.remove(uid)
        for pod in found.values():
            self.put(pod)

    def _tell(self, uid: str) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in tuple(self._listeners):
            listener(uid)
