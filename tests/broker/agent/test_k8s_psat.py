"""An agent in a pod: it joins by its projected token, comes back by itself, and serves the pods of its node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.agent.prove_k8s_psat import ProjectedTokenProver
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from tests import parts
from tests.broker.agent.harness import OWN_UID, agent_process, config, first_svids, running_agent
from tests.broker.agent.test_pod_identities import RULE, TRAINER, inside, workload_on
from tests.broker.attest import cgroups
from tests.broker.attest.agent_pod import ACCOUNT, NAMESPACE, AgentPod
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server, server_process
from tests.kubernetes import ISSUER, Kubernetes
from tests.ports import free_port

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes")]
ID = "spiffe://example.org/ns/a/sa/w"


@dataclass(frozen=True, slots=True)
class Deployed:
    """An agent's pod, and the files of its server and of itself."""

    pod: AgentPod
    clusters: Path
    token: Path

    @property
    def uid(self) -> str:
        """Of the pod."""
        assert self.pod.pod.metadata is not None
        return self.pod.pod.metadata.uid or ""

    def project(self) -> None:
        """As the kubelet does, and again before the token ends."""
        self.token.write_text(self.pod.token() + "\n")

    def proof(self, server: ServerUnderTest) -> dict[str, Any]:
        """What the agent is told: with its account's rights in the API, and no others."""
        bundle = self.token.with_name("bootstrap.pem")
        bundle.write_bytes(server.bundle_pem)
        assert self.pod.node.metadata is not None
        own = self.pod.kubernetes.token(NAMESPACE, ACCOUNT, [ISSUER], self.pod.pod)
        proof = {"attestor": "k8s_psat", "k8s_psat_cluster": "prod", "k8s_psat_token": self.token}
        pods = {"k8s_node": self.pod.node.metadata.name, "k8s_kubeconfig": self.pod.kubernetes.kubeconfig(own)}
        return {"joined": True, "bootstrap_bundle": bundle, **proof, **pods}


@pytest.fixture
def deployed(kubernetes: Kubernetes, tmp_path: Path) -> Deployed:
    """On a node of its own."""
    pod = AgentPod.of(kubernetes)
    made = Deployed(pod, tmp_path / "clusters.toml", tmp_path / "token")
    accounts = f'service_accounts = ["{NAMESPACE}:{ACCOUNT}"]'
    made.clusters.write_text(f'[clusters.prod]\n{accounts}\nkubeconfig = "{pod.cluster().kubeconfig}"\n')
    made.project()
    return made


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def test_an_agent_joins_and_serves_the_pods_of_its_node(tmp_path: Path, deployed: Deployed) -> None:
    """From the token to `/ns/X/sa/Y` of a process in a container, on what the manifest allows."""
    assert deployed.pod.node.metadata is not None
    async with (
        running_server(tmp_path, k8s_clusters=deployed.clusters) as server,
        running_agent(tmp_path, server, **deployed.proof(server)) as agent,
    ):
        [(node, _)] = server.parts.agent_api.agents.every()
        assert node.spiffe_id == f"spiffe://example.org/ringfence/agent/k8s_psat/prod/{deployed.pod.node.metadata.uid}"
        assert f"k8s_psat:agent_node_name:{deployed.pod.node.metadata.name}" in node.selectors
        await server.create_entry(RULE)
        with workload_on(deployed.pod.kubernetes, deployed.pod.node.metadata.name or "") as trainer:
            trainer.report()
            async with inside(agent, trainer) as process:
                assert await process.line() == TRAINER


@pytest.mark.e2e
async def test_the_commands_do_it_from_inside_a_pod(tmp_path: Path, deployed: Deployed) -> None:
    """In the agent's own pod, with the cgroup namespace that its runtime gives it, as its manifest would start it."""
    unshare, port, http = parts.program("unshare", "util-linux"), free_port(), free_port()
    kubernetes, node = deployed.pod.kubernetes, deployed.pod.node.metadata
    assert node is not None
    async with server_process(
        tmp_path, port=port, http_port=free_port(), arguments=("--k8s-clusters", str(deployed.clusters))
    ) as server:
        await server.create_entry(RULE)
        proof = deployed.proof(server)
        options = {name: str(proof[name]) for name in proof if name not in {"joined", "bootstrap_bundle"}}
        flags = [each for name, value in options.items() for each in (f"--{name.replace('_', '-')}", value)]
        bundle = ("--bootstrap-bundle", str(proof["bootstrap_bundle"]))
        with (
            cgroups.container_cgroup(deployed.uid, "a9" * 32) as folder,
            workload_on(kubernetes, node.name or "") as trainer,
        ):
            trainer.report()
            inside_its_own = (*cgroups.entering(folder), unshare, "--cgroup")
            async with (
                agent_process(
                    tmp_path, server.address, *flags, *bundle, http_port=http, prefix=inside_its_own
                ) as agent,
                inside(agent, trainer) as process,
            ):
                assert await process.line() == TRAINER
    log = (tmp_path / "agent.log").read_text() + (tmp_path / "server.log").read_text()
    assert "k8s_psat" in log
    assert deployed.token.read_text().strip() not in log


async def test_an_evicted_agent_comes_back_by_itself(tmp_path: Path, deployed: Deployed) -> None:
    """Under the same name, with the token that is in the file by then."""
    async with (
        running_server(tmp_path, k8s_clusters=deployed.clusters) as server,
        running_agent(tmp_path, server, **deployed.proof(server)) as agent,
    ):
        agents = server.parts.agent_api.agents
        [(before, _)] = agents.every()
        deployed.project()
        assert await agents.evict(SpiffeId.parse(before.spiffe_id)) == 1
        await server.create_entry(ID, OWN_UID)
        await _until(lambda: agents.connected == 1)
        [(after, _)] = agents.every()
        assert (after.spiffe_id, after.serial == before.serial) == (before.spiffe_id, False)
        assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID


async def test_a_node_alias_goes_by_what_was_proved(tmp_path: Path, deployed: Deployed) -> None:
    """Entries for the nodes of one cluster."""
    async with (
        running_server(tmp_path, k8s_clusters=deployed.clusters) as server,
        running_agent(tmp_path, server, **deployed.proof(server)) as agent,
    ):
        alias = "spiffe://example.org/nodes/prod"
        await server.create_entry(alias, "k8s_psat:cluster:prod", parent_id="spiffe://example.org/ringfence/server")
        await server.create_entry(ID, OWN_UID, parent_id=alias)
        assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID


@pytest.mark.parametrize(("text", "says"), [(None, "No such file"), (b"\n", "empty"), (b"\xff", "no text")])
def test_a_token_that_is_not_there_is_named(tmp_path: Path, text: bytes | None, says: str) -> None:
    """INVALID, with the file and the flag, before anything is sent."""
    path = tmp_path / "token"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(RingfenceError, match=says) as caught:
        ProjectedTokenProver("prod", path).evidence(TRUST_DOMAIN, b"", b"")
    assert (caught.value.kind, caught.value.where) == (Kind.INVALID, str(path))
    assert "--k8s-psat-token" in caught.value.hint


@pytest.mark.parametrize(
    "fields", [{"attestor": "k8s_psat"}, {"k8s_psat_cluster": "prod"}, {"k8s_kubeconfig": Path("a")}]
)
def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A setting that would be ignored is a mistake."""
    with pytest.raises(RingfenceError) as caught:
        config(tmp_path, "127.0.0.1:1", **fields)
    assert caught.value.kind is Kind.INVALID
