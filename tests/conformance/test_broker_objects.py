"""SPIFFE_Broker_API.md on Kubernetes objects, by the numbers of the checklist (1.9, lines 9, 10, 14 and 15)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.broker.attest.k8s_pods import Pods
from ringfence.broker.broker_api.endpoint import serve_brokers
from ringfence.proto import broker as wire
from ringfence.proto.client import Client
from tests.broker.agent.harness import AgentUnderTest
from tests.broker.attest.pods import OTHER_UID, UID, pod
from tests.broker.broker_api.harness import (
    HEADER,
    STREAMS,
    Ended,
    broker_config,
    broker_socket,
    credential,
    dial,
    ended,
    request,
)
from tests.broker.server.harness import ServerUnderTest, running_server

ID = "spiffe://example.org/ns/team-a/sa/trainer"
OTHER = "spiffe://example.org/ns/team-a/sa/other"
PODS = wire.KubernetesObjectType(plural="pods", group="core")
KEY = wire.KubernetesObjectKey(namespace="team-a", name="trainer-0")
INVALID = Ended(grpc.StatusCode.INVALID_ARGUMENT, "WORKLOAD_REFERENCE_INVALID", "spiffe.io")
NOT_FOUND = Ended(grpc.StatusCode.NOT_FOUND, "WORKLOAD_NOT_FOUND", "spiffe.io")
NOT_ENTITLED = Ended(grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ENTITLED", "spiffe.io")


def named(uid: str = "", key: Any = None, of: Any = PODS) -> Any:
    """A reference."""
    return wire.KubernetesObjectReference(type=of, key=key, uid=uid)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server that has an entry for the pod's service account."""
    async with running_server(tmp_path) as running:
        await running.create_entry(ID, "k8s:ns:team-a", "k8s:sa:trainer")
        yield running


@pytest.fixture
def pods() -> Pods:
    """What the API told of the node: one pod."""
    found = Pods()
    found.outage = ""
    found.put(pod())
    return found


@pytest.fixture
async def client(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest, pods: Pods, port: int
) -> AsyncIterator[Client]:
    """The node proxy's, at an endpoint that knows *pods*."""
    inside = agent.agent
    assert inside is not None
    assert inside.watches is not None
    assert inside._known is not None
    lane = await serve_brokers(
        broker_config(tmp_path, port=port),
        lambda: inside._node.identity.svid,
        inside.watches,
        inside._known.tokens,
        pods,
    )
    async with dial(server, broker_socket(tmp_path), await credential(server)) as broker:
        yield broker.client
    await lane.close()


async def _ended(client: Client, reference: Any) -> Ended:
    found = await ended(client.FetchJWTSVID(request("FetchJWTSVID", reference), metadata=HEADER))
    return Ended(found.code, found.reason, found.domain)


async def test_1_9_9_objects_may_be_named_from_afar(server: ServerUnderTest, client: Client, port: int) -> None:
    """1.9.9: of the cluster that the agent is in; an operator can let a broker name them over TCP."""
    assert client is not None
    async with dial(server, port, await credential(server)) as broker:
        assert (await _ended(broker.client, named(UID))).code is grpc.StatusCode.OK


@pytest.mark.parametrize("reference", [named(UID), named(key=KEY), named(UID, KEY)])
async def test_1_9_10_a_pod_is_named_by_uid_by_key_or_by_both(client: Client, reference: Any) -> None:
    """1.9.10: and gets what the API's facts of it entitle it to."""
    call = client.SubscribeToX509SVID(request("SubscribeToX509SVID", reference), metadata=HEADER)
    assert [svid.spiffe_id for svid in (await call.read()).svids] == [ID]
    call.cancel()


@pytest.mark.parametrize(
    "reference",
    [
        wire.KubernetesObjectReference(uid=UID),
        named(UID, of=wire.KubernetesObjectType(plural="pods")),
        named(UID, of=wire.KubernetesObjectType(plural="pods", group="v1")),
        named(UID, of=wire.KubernetesObjectType(plural="deployments", group="apps")),
        named(),
        named(key=wire.KubernetesObjectKey(name="trainer-0")),
        named(key=wire.KubernetesObjectKey(namespace="team-a")),
        named(UID, wire.KubernetesObjectKey(namespace="team-a")),
        named("x" * 254),
    ],
)
async def test_1_9_10_what_can_name_no_pod_is_invalid(client: Client, reference: Any) -> None:
    """1.9.10: the type is needed, `core` spelled out; a key is whole; and something has to be given."""
    assert await _ended(client, reference) == INVALID


@pytest.mark.parametrize(
    "reference",
    [
        named(OTHER_UID),
        named(OTHER_UID, KEY),
        named(UID, wire.KubernetesObjectKey(namespace="team-b", name="trainer-0")),
        named(key=wire.KubernetesObjectKey(namespace="team-a", name="trainer-1")),
    ],
)
async def test_1_9_14_a_pod_that_is_not_there_is_not_found(client: Client, reference: Any) -> None:
    """1.9.10 and 14: when both are given and do not agree, neither counts."""
    assert await _ended(client, reference) == NOT_FOUND


async def test_1_9_14_a_pod_without_identity_is_denied(client: Client, pods: Pods) -> None:
    """1.9.14: PermissionDenied with its reason."""
    pods.put(pod(OTHER_UID, "other-0", service_account="other"))
    assert await _ended(client, named(OTHER_UID)) == NOT_ENTITLED


async def test_1_9_14_while_the_api_is_away_nobody_knows(client: Client, pods: Pods) -> None:
    """1.9.5: Unavailable, unless the pod is known from before."""
    pods.outage = "the API is away"
    assert (await _ended(client, named(UID))).code is grpc.StatusCode.OK
    assert (await _ended(client, named(OTHER_UID))).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("method", STREAMS)
async def test_1_9_15_a_stream_ends_when_the_pod_does(client: Client, pods: Pods, method: str) -> None:
    """1.9.15: as soon as the API tells, also when a new pod has come under the old name."""
    call = getattr(client, method)(request(method, named(key=KEY)), metadata=HEADER)
    assert await call.read()
    pods.put(pod(OTHER_UID))
    async with asyncio.timeout(20):
        found = await ended(call)
    assert Ended(found.code, found.reason, found.domain) == NOT_FOUND
