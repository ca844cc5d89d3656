"""Pods that a broker names, as a real Kubernetes API has them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from lightkube.resources.core_v1 import Pod

from ringfence.proto import broker as wire
from tests.broker.agent.harness import running_agent
from tests.broker.attest.pods import manifest
from tests.broker.broker_api.harness import (
    HEADER,
    broker_config,
    broker_socket,
    credential,
    dial,
    ended,
    request,
    shown,
)
from tests.broker.server.harness import running_server
from tests.kubernetes import ISSUER, RBAC, Kubernetes

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes")]
TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
PODS = wire.KubernetesObjectType(plural="pods", group="core")


def _label(kubernetes: Kubernetes, name: str, app: str) -> None:
    kubernetes.admin.patch(Pod, name, {"metadata": {"labels": {"app": app}}}, namespace="team-a")


async def test_a_pod_is_what_the_api_says_for_as_long_as_it_is_there(tmp_path: Path, kubernetes: Kubernetes) -> None:
    """By its UID; a label that changes brings another identity, and the stream ends when the pod is deleted."""
    node = f"node-{uuid4().hex[:8]}"
    wanted = manifest(f"trainer-{node}", labels={"app": "web"})
    wanted["spec"]["nodeName"] = node
    await asyncio.to_thread(kubernetes.account, "team-a", "trainer")
    await asyncio.to_thread(kubernetes.apply_file, RBAC)
    pod = await asyncio.to_thread(kubernetes.run_pod, wanted)
    assert pod.metadata is not None
    token = await asyncio.to_thread(kubernetes.token, "ringfence", "ringfence-agent", [ISSUER])
    fields: dict[str, Any] = {"k8s_node": node, "k8s_kubeconfig": await asyncio.to_thread(kubernetes.kubeconfig, token)}
    async with (
        running_server(tmp_path) as server,
        running_agent(tmp_path, server, broker=broker_config(tmp_path), **fields),
        dial(server, broker_socket(tmp_path), await credential(server)) as broker,
    ):
        for app in ("web", "db"):
            await server.create_entry(f"{TRAINER}/{app}", f"k8s:pod-label:app:{app}")
        reference = wire.KubernetesObjectReference(type=PODS, uid=pod.metadata.uid)
        asked, token_asked = request("SubscribeToX509SVID", reference), request("FetchJWTSVID", reference)
        # Until the agent has heard of the pod, and of the entries.
        while (await ended(broker.client.FetchJWTSVID(token_asked, metadata=HEADER))).code in {  # noqa: ASYNC110
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.PERMISSION_DENIED,
        }:
            await asyncio.sleep(0.05)
        call = broker.client.SubscribeToX509SVID(asked, metadata=HEADER)
        assert [svid.spiffe_id for svid in (await call.read()).svids] == [f"{TRAINER}/web"]
        await asyncio.to_thread(_label, kubernetes, wanted["metadata"]["name"], "db")
        await shown(call, f"{TRAINER}/db")
        await asyncio.to_thread(kubernetes.delete_pod, pod)
        assert (await ended(call)).reason == "WORKLOAD_NOT_FOUND"
