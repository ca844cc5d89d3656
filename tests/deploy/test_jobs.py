"""The adapters for Kubeflow Trainer, KubeRay and MPI Operator: their parts fit each other, and a real API server."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.broker.cli.main import cli
from ringfence.fabric.emit.asked import Asked, Facts
from ringfence.fabric.emit.targets import emit
from ringfence.policy.entries import launch_rules_of
from tests import parts
from tests.deploy.jobs import ADAPTERS, KINDS, KUBERNETES, NOW, TENANT, intent, manifests, pods
from tests.fabric.emit.schemas import fits, objects
from tests.kubernetes import Kubernetes

NETWORKS, MESH = "k8s.v1.cni.cncf.io/networks", {"ringfence.dev/mesh": "true"}
STORES = (29400, 29500)
ON_FABRIC = ("kubeflow-trainer", "mpi-operator")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_objects_have_the_fields_of_their_kinds(adapter: str) -> None:
    """And those alone, all of them in the tenant's namespace."""
    for body in manifests(adapter):
        assert body["metadata"]["namespace"] == "team-a"
        if body["kind"] in KINDS:
            api, fields = KINDS[body["kind"]]
            assert body["apiVersion"] == api
            fits(fields)(body["spec"])


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_pod_is_beside_the_policies(adapter: str) -> None:
    """None is on the host's network, has privileges, or a token of the cluster's; each has an account of its own."""
    for pod in pods(adapter):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] in {
            body["metadata"]["name"] for body in manifests(adapter) if body["kind"] == "ServiceAccount"
        }
        for container in spec["containers"]:
            assert not {"privileged", "capabilities"} & set(container.get("securityContext", {}))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_intent_means_these_pods(adapter: str) -> None:
    """Who may launch or match is named by the namespace and the account that they have."""
    model = intent(adapter)
    alternatives = {rule.by for rule in launch_rules_of(model)} | {w.match for w in model.workloads.values()}
    named = {frozenset(map(str, selectors)) for found in alternatives for selectors in found}

    for pod in pods(adapter):
        own = {"k8s:ns:team-a", f"k8s:sa:{pod['spec']['serviceAccountName']}"}
        assert any(own <= selectors for selectors in named)


@pytest.mark.parametrize("adapter", ON_FABRIC)
def test_what_is_emitted_is_what_the_pods_name(adapter: str) -> None:
    """The attachment and its interface; the policy lets members of the job use the fabric's ports, and no store's."""
    model = intent(adapter)
    fabric = model.fabrics["platform/rail"]
    facts = Facts(resource="nvidia.com/rail", label="app.kubernetes.io/name")
    [attachment] = objects(emit(Asked("nad", model, fabric, NOW, facts)))
    _, allowed = objects(emit(Asked("multi-network-policy", model, fabric, NOW, facts)))
    [expression] = allowed["spec"]["podSelector"]["matchExpressions"]

    found = list(pods(adapter))
    assert found
    for pod in found:
        [network] = json.loads(pod["metadata"]["annotations"][NETWORKS])
        assert network["name"] == attachment["metadata"]["name"]
        assert fabric.interfaces[0].takes(network["interface"])
        assert pod["metadata"]["labels"][expression["key"]] in expression["values"]
        assert all(
            container["resources"]["limits"][attachment["metadata"]["annotations"]["k8s.v1.cni.cncf.io/resourceName"]]
            for container in pod["spec"]["containers"]
        )
    for rule in allowed["spec"]["ingress"]:
        assert not any(port["port"] <= store <= port["endPort"] for port in rule["ports"] for store in STORES)


def policies(*bodies: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """NetworkPolicies by name."""
    return {body["metadata"]["name"]: body["spec"] for body in bodies if body["kind"] == "NetworkPolicy"}


def test_in_a_tenant_nothing_is_open_but_proxies() -> None:
    """Both ways are denied to all; the ports of proxies are those that `run` takes, without those of stores."""
    found = policies(*objects(TENANT.read_text()))
    assert found["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {name for name, spec in found.items() if "ingress" in spec} == {"mesh"}
    assert found["mesh"]["podSelector"] == {"matchLabels": MESH}
    [rule] = found["mesh"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": MESH}}]
    opened = {port for span in rule["ports"] for port in range(span["port"], span["endPort"] + 1)}
    assert opened == set(range(15000, 50000)) - set(STORES)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_pods_behind_a_proxy_are_reached_by_it_alone(adapter: str) -> None:
    """They have the label of the mesh; policies of an adapter name pods of its own job alone, by label."""
    for pod in pods(adapter):
        runs = any("ringfence run" in " ".join(each.get("command", ())) for each in pod["spec"]["containers"])
        assert (pod["metadata"]["labels"] if "metadata" in pod else {}).items() >= (MESH if runs else {}).items()
    for spec in policies(*manifests(adapter)).values():
        peers = [peer for rule in spec.get("ingress", ()) for peer in rule["from"]]
        peers += [peer for rule in spec.get("egress", ()) for peer in rule["to"]]
        for peer in peers:
            assert list(peer) == ["podSelector"]
            own = set(peer["podSelector"]["matchLabels"].items()) & set(spec["podSelector"]["matchLabels"].items())
            assert own


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of a container, by adapter."""
    for adapter in ADAPTERS:
        for pod in pods(adapter):
            for container in pod["spec"]["containers"]:
                if "command" in container:
                    yield adapter, container["command"]


def test_every_ringfence_command_exists() -> None:
    """With each of its flags."""
    seen = 0
    for _, command in commands():
        text = command[2] if command[:2] == ["/bin/sh", "-c"] else shlex.join(command)
        for line in text.replace("\\\n", " ").splitlines():
            _, found, rest = line.partition("ringfence ")
            if not found or line.lstrip().startswith("#"):
                continue
            words = shlex.split(rest.partition(" -- ")[0].partition(")")[0])
            done = CliRunner().invoke(cli, [*words, "--help"])
            assert done.exit_code == 0, (words, done.output)
            seen += 1
    assert seen == 4


@pytest.mark.parametrize("adapter", ON_FABRIC)
@pytest.mark.parametrize("answer", [0, 5])
def test_a_pod_that_is_not_on_its_fabric_ends(tmp_path: Path, adapter: str, answer: int) -> None:
    """Its script goes on only where the fabric's environment was made, and with it."""
    script = next(command for name, command in commands() if name == adapter and command[:2] == ["/bin/sh", "-c"])
    told = "echo \"export NCCL_NET='AWS Libfabric' NCCL_X='a b'\""
    made = {"ringfence": f'[ "$1" = run ] && exec "$@"; {told}; exit {answer}', "run": 'echo "ran $NCCL_NET $@"'}
    made["mpirun"] = made["run"]
    for name, text in made.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        [*script, "train.py"], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == (1 if answer else 0)
    assert done.stdout.startswith("ran AWS Libfabric") is not bool(answer)
    if adapter == "kubeflow-trainer" and not answer:
        assert done.stdout.endswith(" -- torchrun train.py\n")
    if adapter == "mpi-operator" and not answer:
        assert "-x NCCL_NET" in done.stdout
        assert "-x NCCL_X" in done.stdout


@pytest.mark.e2e
@pytest.mark.slow
def test_a_real_api_server_takes_tenant_pods_and_policies() -> None:
    """Unknown fields are errors to it, and so is a pod that the tenant's level of security refuses."""
    with tempfile.TemporaryDirectory(prefix="rf-k8s-") as folder:
        cluster = Kubernetes(Path(folder))
        cluster.start()
        try:
            kubectl = [parts.built("kubectl"), "--kubeconfig", str(cluster.kubeconfig()), "create", "--validate=strict"]
            _create(kubectl, TENANT.read_text())
            for adapter in ADAPTERS:
                core = [body for body in manifests(adapter) if body["kind"] not in KINDS]
                _create(kubectl, "---\n".join(json.dumps(body) + "\n" for body in core))
                for number, pod in enumerate(pods(adapter)):
                    _create(kubectl, json.dumps(_pod(pod, f"{adapter}-{number}")))
            refused = {
                "spec": {"hostNetwork": True, "serviceAccountName": "ray", "containers": [{"name": "a", "image": "a"}]}
            }
            assert "baseline" in _create(kubectl, json.dumps(_pod(refused, "host")), code=1)
        finally:
            cluster.end()


def _pod(template: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = {**template.get("metadata", {}), "name": name, "namespace": "team-a"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _create(kubectl: list[str], text: str, code: int = 0) -> str:
    done = subprocess.run([*kubectl, "-f", "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_every_adapter_has_a_page() -> None:
    """Which names its folder."""
    pages = "\n".join(
        (KUBERNETES.parents[1] / "docs" / f"{name}.md").read_text() for name in ("kubeflow", "kuberay", "mpi")
    )
    assert all(f"(../deploy/kubernetes/{adapter})" in pages for adapter in ADAPTERS)
