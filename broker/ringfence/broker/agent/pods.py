"""Following the pods of this node: a list, then a watch from there, for as long as the agent lives."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringfence.broker.agent import events
from ringfence.broker.attest.k8s import KubernetesAttestor
from ringfence.broker.attest.k8s_client import client_of, failure, status_code
from ringfence.broker.attest.k8s_pod import Pod
from ringfence.broker.attest.k8s_pods import Pods

if TYPE_CHECKING:
    from lightkube import AsyncClient

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between tries
_LONGEST_WATCH = 300.0  # seconds after which a connection that may be dead is left, and the watch goes on from there
_GONE = 410  # so much happened since that version that only a list tells


class NodePods:
    """The pods of one node: `pods` is what is known of them."""

    def __init__(self, node: str, kubeconfig: Path | None) -> None:
        self.pods = Pods()
        self._node = node
        self._kubeconfig = kubeconfig
        self._api: AsyncClient

    async def open(self) -> KubernetesAttestor:
        """Be able to reach the API, which need not answer yet; what tells by it. Raises INVALID."""
        self._api = await asyncio.to_thread(client_of, self._kubeconfig)
        return KubernetesAttestor(self.pods)

    async def run(self) -> None:
        """Follow them until cancelled."""
        try:
            await follow(self.pods, self._api, self._node)
        finally:
            await self._api.close()


async def follow(pods: Pods, api: AsyncClient, node: str) -> None:
    """Keep *pods* as the API has them for *node*; what fails is told, and tried again."""
    pause = _FIRST_PAUSE
    while True:
        try:
            version = await _list(pods, api, node)
            pause = _FIRST_PAUSE
            await _watch(pods, api, node, version)
        except Exception as error:  # noqa: BLE001  # whatever ails the API or what it sends, workloads are served on
            if status_code(error) != _GONE:
                _lost(pods, error, api)
        await asyncio.sleep(pause * (1 + random.random()))  # noqa: S311  # it spreads load
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _list(pods: Pods, api: AsyncClient, node: str) -> str:
    """All of them anew; the version that this is."""
    from lightkube.resources.core_v1 import Pod as Resource

    found = api.list(Resource, namespace="*", fields={"spec.nodeName": node})
    pods.replace([Pod.read(each) async for each in found])
    if pods.outage:
        pods.outage = ""
        events.pods_followed(node, len(pods))
    return found.resourceVersion


async def _watch(pods: Pods, api: AsyncClient, node: str, version: str) -> None:
    from lightkube.resources.core_v1 import Pod as Resource

    while True:
        watch: Any = api.watch(Resource, namespace="*", fields={"spec.nodeName": node}, resource_version=version)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WATCH), aclosing(watch):
                async for what, found in watch:
                    version = found.metadata.resourceVersion
                    _apply(pods, what, found)


def _apply(pods: Pods, what: str, found: Any) -> None:
    if what == "DELETED":
        pods.remove(found.metadata.uid)
    elif what in {"ADDED", "MODIFIED"}:
        pods.put(Pod.read(found))


def _lost(pods: Pods, error: Exception, api: AsyncClient) -> None:
    told = failure(error, api.config.cluster.server)
    if str(told) != pods.outage:
        pods.outage = str(told)
        events.pods_lost(told)
