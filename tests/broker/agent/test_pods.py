"""Following the pods of a node by a real Kubernetes API, through its outages."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from ringfence.broker.agent import pods as following
from ringfence.broker.attest.k8s_client import client_of
from ringfence.broker.attest.k8s_pods import Pods
from ringfence.certs.errors import Kind, RingfenceError
from tests import parts
from tests.broker.attest.pods import CONTAINER_ID, manifest, status
from tests.kubernetes import ADMIN, ISSUER, RBAC, Kubernetes, kubeconfig_of

ACCOUNT_FOLDER = "/run/secrets/kubernetes.io/serviceaccount"
LIST_PODS = """
import asyncio, sys
from ringfence.broker.agent.pods import NodePods
async def main():
    node = NodePods(sys.argv[1], None)
    await node.open()
    running = asyncio.create_task(node.run())
    print(*await node.pods.expect(lambda: [*node.pods._pods] or None, 30))
    running.cancel()
    await asyncio.wait([running])
asyncio.run(main())
"""
pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes")]


@pytest.fixture
def team(kubernetes: Kubernetes) -> Kubernetes:
    """A cluster with the account of the test's pods."""
    kubernetes.account("team-a", "trainer")
    return kubernetes


@pytest.fixture
def node() -> str:
    """A name that no other test's pods are on."""
    return f"node-{uuid4().hex[:8]}"


def _on(node: str, name: str) -> dict[str, object]:
    found = manifest(f"{name}-{node}")
    found["spec"]["nodeName"] = node
    return found


@asynccontextmanager
async def _followed(kubernetes: Kubernetes, node: str, token: str = ADMIN) -> AsyncIterator[Pods]:
    """The pods of *node*, as soon as something was heard."""
    pods = Pods()
    first = pods.outage
    api = await asyncio.to_thread(client_of, kubernetes.kubeconfig(token))
    task = asyncio.create_task(following.follow(pods, api, node))
    try:
        await _until(lambda: pods.outage != first)
        yield pods
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await api.close()
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            gc.collect()  # httpcore leaves a connection whose handshake was cancelled to the collector


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # a state, of which nothing tells
            await asyncio.sleep(0.01)


async def test_pods_of_the_node_come_change_and_go(team: Kubernetes, node: str) -> None:
    """Those that were there, those that come; a report of a container; the end. Other nodes' are not ours."""
    before = team.run_pod(_on(node, "before"))
    team.run_pod(_on("elsewhere-" + node, "other"))
    async with _followed(team, node) as pods:
        assert pods.find(namespace="team-a", name=before.metadata.name).service_account == "trainer"
        assert len(pods) == 1
        after = team.run_pod(_on(node, "after"), statuses=[status("main", CONTAINER_ID)])
        uid = after.metadata.uid
        assert await pods.expect(lambda: (pod := pods.find(uid=uid)) and pod.container(CONTAINER_ID), 30)
        team.delete_pod(after)
        await _until(lambda: pods.find(uid=uid) is None)
        assert len(pods) == 1


async def test_a_watch_goes_on_where_it_was_left(team: Kubernetes, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing for long is left; what happened meanwhile is told, and no list is made anew."""
    monkeypatch.setattr(following, "_LONGEST_WATCH", 1.0)  # time for a handshake, on whatever machine
    async with _followed(team, node) as pods:
        lists: list[object] = []
        pods.replace = lists.append  # type: ignore[method-assign]
        for number in range(3):
            uid = team.run_pod(_on(node, f"p{number}")).metadata.uid
            assert await pods.expect(partial(pods.find, uid=uid), 30)
            await asyncio.sleep(1.1)  # what is tested is a time
        assert lists == []


async def test_an_outage_is_said_and_what_is_known_is_kept(team: Kubernetes, node: str) -> None:
    """What went during it is gone after it, what came has come."""
    stays, goes = team.run_pod(_on(node, "stays")), team.run_pod(_on(node, "goes"))
    async with _followed(team, node) as pods:
        team.stop()
        await _until(lambda: bool(pods.outage))
        assert team.address in pods.outage
        assert pods.find(uid=stays.metadata.uid) is not None
        await asyncio.to_thread(team.start)
        team.delete_pod(goes)
        comes = team.run_pod(_on(node, "comes"))
        await _until(lambda: not pods.outage and pods.find(uid=comes.metadata.uid) is not None)
        await _until(lambda: pods.find(uid=goes.metadata.uid) is None)
        assert pods.find(uid=stays.metadata.uid) is not None


async def test_a_version_that_is_too_old_is_no_outage(
    team: Kubernetes, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410 Gone: a list is made anew, at once."""
    await asyncio.to_thread(team.forget)  # an API that has run from the beginning tells all from version 1 on
    listed: list[str] = []

    async def list_oldest(*given: object) -> str:
        listed.append(await original(*given))  # type: ignore[arg-type]
        return "1" if len(listed) == 1 else listed[-1]

    original = following._list
    monkeypatch.setattr(following, "_list", list_oldest)
    async with _followed(team, node) as pods:
        team.run_pod(_on(node, "late"))
        await _until(lambda: len(pods) == 1)
        assert len(listed) == 2
        assert not pods.outage


async def test_a_right_that_is_lacking_is_named(team: Kubernetes, node: str) -> None:
    """The API's own words, and the manifest that gives it."""
    token = team.token("team-a", "trainer", [ISSUER])
    async with _followed(team, node, token) as pods:
        assert "forbidden" in pods.outage
        assert "deploy/kubernetes/rbac.yaml" in pods.outage


@pytest.mark.parametrize("text", [None, "", "[", "{}", "clusters: 7", "current-context: x\nclusters: []\ncontexts: []"])
def test_a_file_that_names_no_api_is_refused(tmp_path: Path, text: str | None) -> None:
    """INVALID with the file, whatever is wrong with it."""
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RingfenceError) as caught:
        client_of(path)
    assert (caught.value.kind, caught.value.where) == (Kind.INVALID, str(path))


@pytest.mark.parametrize(
    "cluster",
    [
        {},
        {"server": "http://127.0.0.1:1"},
        {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True},
        {"server": "HTTP://127.0.0.1:1"},
    ],
)
def test_an_api_that_anybody_could_be_is_refused(tmp_path: Path, cluster: dict[str, object]) -> None:
    """It says who workloads and nodes are."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig_of(cluster)))
    with pytest.raises(RingfenceError, match="not be known by its certificate"):
        client_of(path)
    path.write_text(json.dumps(kubeconfig_of({"server": "https://127.0.0.1:1"})))
    assert client_of(path).config.cluster.server == "https://127.0.0.1:1"


def test_in_a_pod_its_account_is_used(kubernetes: Kubernetes, tmp_path: Path) -> None:
    """As the kubelet mounts it, with the rights of the manifest: it lists the pods of one node, and no others."""
    parts.root()
    kubernetes.apply_file(RBAC)
    kubernetes.account("team-a", "trainer")
    made = kubernetes.run_pod(_on("in-cluster", "one"))
    account = {
        "token": kubernetes.token("ringfence", "ringfence-agent", [ISSUER]),
        "namespace": "ringfence",
        "ca.crt": kubernetes.ca.read_text(),
    }
    for name, text in account.items():
        (tmp_path / name).write_text(text)
    mount = 'mount -t tmpfs none /run && mkdir -p "$1" && cp "$0"/* "$1" && shift && exec "$@"'
    command = (parts.program("unshare", "util-linux"), "--mount", "sh", "-c", mount, str(tmp_path), ACCOUNT_FOLDER)
    host, port = kubernetes.address.removeprefix("https://").split(":")
    env = os.environ | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    code = [sys.executable, "-c", LIST_PODS, "in-cluster"]
    done = subprocess.run([*command, *code], env=env, capture_output=True, text=True, check=False)
    assert made.metadata is not None
    assert done.stdout.split() == [made.metadata.uid], done.stderr


def test_outside_of_a_pod_a_file_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no service account to go by."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(RingfenceError) as caught:
        client_of(None)
    assert "kubeconfig" in caught.value.hint
