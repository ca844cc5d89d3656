"""Workloads in pods: served by what a real Kubernetes API says of their pod, through changes and outages of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lightkube.resources.core_v1 import Pod

from tests.broker.agent.harness import AgentUnderTest, running_agent
from tests.broker.agent.test_explaining import explain
from tests.broker.attest import cgroups
from tests.broker.attest.children import FETCHER, Child, child
from tests.broker.attest.pods import manifest, status
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.kubernetes import ISSUER, RBAC, Kubernetes

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes")]
RULE = "spiffe://example.org/ns/{k8s.ns}/sa/{k8s.sa}"
TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, and its container's cgroup with nobody in it."""

    kubernetes: Kubernetes
    pod: Pod
    container_id: str
    folder: Path

    def label(self, app: str) -> None:
        """Change its label `app`."""
        assert self.pod.metadata is not None
        patch = {"metadata": {"labels": {"app": app}}}
        self.kubernetes.admin.patch(Pod, self.pod.metadata.name or "", patch, namespace="team-a")

    def report(self, container_id: str = "") -> None:
        """As the kubelet does once the container has started."""
        self.kubernetes.report(self.pod, [status("main", container_id or self.container_id)])


@contextmanager
def workload_on(kubernetes: Kubernetes, node: str) -> Iterator[Workload]:
    """A pod on *node*, not reported yet, with an empty cgroup for its container."""
    kubernetes.account("team-a", "trainer")
    wanted = manifest(f"trainer-{node}", labels={"app": "web"})
    wanted["spec"]["nodeName"] = node
    pod = kubernetes.run_pod(wanted)
    assert pod.metadata is not None
    container_id = uuid4().hex * 2
    with cgroups.container_cgroup(pod.metadata.uid or "", container_id) as folder:
        yield Workload(kubernetes, pod, container_id, folder)


@pytest.fixture
def trainer(kubernetes: Kubernetes) -> Iterator[Workload]:
    """Not reported yet."""
    with workload_on(kubernetes, f"node-{uuid4().hex[:8]}") as made:
        yield made


@asynccontextmanager
async def _mesh(tmp_path: Path, of: Workload, **fields: Any) -> AsyncIterator[tuple[ServerUnderTest, AgentUnderTest]]:
    """A server, and an agent on the node of *of* that follows its pods."""
    assert of.pod.spec is not None
    of.kubernetes.apply_file(RBAC)
    token = of.kubernetes.token("ringfence", "ringfence-agent", [ISSUER])  # it works with these rights and no others
    on_node = {"k8s_node": of.pod.spec.nodeName, "k8s_kubeconfig": of.kubernetes.kubeconfig(token)}
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, **on_node, **fields) as agent:
        yield server, agent


def inside(agent: AgentUnderTest, of: Workload) -> AbstractAsyncContextManager[Child]:
    """A process that is in the container before it calls; each line of it is an answer."""
    return child(FETCHER, str(agent.socket), prefix=cgroups.entering(of.folder))


async def test_a_rule_names_a_pod_by_its_namespace_and_account(tmp_path: Path, trainer: Workload) -> None:
    """The workload calls before the kubelet has reported its container, and waits for that."""
    async with _mesh(tmp_path, trainer) as (server, agent), inside(agent, trainer) as process:
        await server.create_entry(RULE, "k8s:pod-label:app:web", "k8s:container-name:main")
        trainer.report()
        assert await process.line() == TRAINER


async def test_no_other_container_and_no_process_outside_is_it(tmp_path: Path, trainer: Workload) -> None:
    """The kubelet reported another one; and we are in none."""
    trainer.report("9" * 64)
    async with _mesh(tmp_path, trainer, hold=0.1) as (server, agent), child(FETCHER, str(agent.socket)) as outside:
        await server.create_entry(RULE)
        assert await outside.line() == "PERMISSION_DENIED"
        async with inside(agent, trainer) as process:
            assert await process.line() == "PERMISSION_DENIED"


async def test_a_change_of_the_pod_reaches_an_open_stream(tmp_path: Path, trainer: Workload) -> None:
    """A label that an entry asks for comes, another goes, each by a push; the stream ends with the last of them."""
    trainer.report()
    async with _mesh(tmp_path, trainer) as (server, agent), inside(agent, trainer) as process:
        for app in ("web", "db"):
            await server.create_entry(f"{TRAINER}/{app}", f"k8s:pod-label:app:{app}")
        assert await process.line() == f"{TRAINER}/web"
        trainer.label("db")
        assert await process.line() == f"{TRAINER}/db"
        trainer.label("none")
        assert await process.line() == "PERMISSION_DENIED"


async def test_a_pod_that_is_deleted_has_no_identity_any_more(tmp_path: Path, trainer: Workload) -> None:
    """At once, though its process lives."""
    trainer.report()
    async with _mesh(tmp_path, trainer) as (server, agent), inside(agent, trainer) as process:
        await server.create_entry(RULE)
        assert await process.line() == TRAINER
        trainer.kubernetes.delete_pod(trainer.pod)
        async with asyncio.timeout(30):
            assert await process.line() == "PERMISSION_DENIED"


async def test_an_outage_of_the_api_ends_nothing(tmp_path: Path, trainer: Workload) -> None:
    """Streams stay, a process that restarts is served, and it shows that what is told may be old."""
    trainer.report()
    async with _mesh(tmp_path, trainer) as (server, agent), inside(agent, trainer) as process:
        await server.create_entry(RULE)
        assert await process.line() == TRAINER
        assert agent.agent is not None
        pods = agent.agent._pods
        assert pods is not None
        trainer.kubernetes.stop()
        try:
            async with asyncio.timeout(30):
                while not pods.pods.outage:  # noqa: ASYNC110  # a state, of which nothing tells
                    await asyncio.sleep(0.01)
            async with inside(agent, trainer) as second:
                assert await second.line() == TRAINER
            answer = await explain(agent, process.process.pid)
            assert "k8s:sa:trainer" in answer.selectors
            [failure] = answer.failures
            assert failure.startswith("k8s: the pod as it was")
        finally:
            await asyncio.to_thread(trainer.kubernetes.start)
