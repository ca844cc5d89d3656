"""A real Kubernetes API for tests: etcd and kube-apiserver on loopback, ready in three seconds, ended by pid.

No kubelet and no scheduler: tests bind pods to nodes, and report their containers, as those would.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from ssl import create_default_context
from typing import Any, cast

from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict, load_all_yaml
from lightkube.models.authentication_v1 import BoundObjectReference, TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, PodStatus, ServiceAccountToken
from lightkube.types import PatchType

from tests import parts
from tests.ca import new_key, openssl
from tests.ports import free_port

ISSUER = "https://kubernetes.default.svc"
ADMIN = "an-administrator-of-a-throw-away-cluster"
RBAC = Path(__file__).parents[1] / "deploy" / "kubernetes" / "rbac.yaml"
_START_WITHIN = 60.0  # seconds, on a machine that is busy


class Kubernetes:
    """One control plane in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        etcd, peer, port = free_port(), free_port(), free_port()
        self.address = f"https://127.0.0.1:{port}"
        self.ca = folder / "certs" / "apiserver.crt"
        self.signing_key = new_key(folder / "sa.key", "RSA")
        openssl("pkey", "-in", self.signing_key, "-pubout", "-out", folder / "sa.pub")
        (folder / "tokens.csv").write_text(f"{ADMIN},admin,1,system:masters\n")
        self._store = store = f"http://127.0.0.1:{etcd}"
        self._flags = {
            "etcd": _store_flags(folder, store, f"http://127.0.0.1:{peer}"),
            "kube-apiserver": _api_flags(folder, store, port),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """All of it, until the API is ready; also after `stop`."""
        for name in self._flags.keys() - self._running.keys():
            with (self.folder / f"{name}.log").open("ab") as log:
                command = [parts.built(name), *self._flags[name]]
                self._running[name] = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_WITHIN
        while not self._ready():
            said = (self.folder / "kube-apiserver.log").read_text()[-2000:]
            assert self._running["kube-apiserver"].poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def stop(self, name: str = "kube-apiserver") -> None:
        """The API is away, at once and with every connection to it."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def forget(self) -> None:
        """Nothing that was before now can be told again, neither from the store nor from what the API remembers."""
        self.stop()
        now = self._ask_store("range", {"key": base64.b64encode(b"/").decode()})["header"]["revision"]
        self._ask_store("compaction", {"revision": now, "physical": True})
        self.start()

    def end(self) -> None:
        """All of it."""
        self.admin.close()
        for name in tuple(self._running):
            self.stop(name)

    def kubeconfig(self, token: str = ADMIN) -> Path:
        """A file by which the bearer of *token* is known to the API."""
        path = self.folder / f"{abs(hash(token))}.kubeconfig"
        cluster = {"server": self.address, "certificate-authority": str(self.ca)}
        path.write_text(json.dumps(kubeconfig_of(cluster, {"token": token})))  # JSON is YAML
        return path

    @cached_property
    def admin(self) -> Client:
        """A blocking client of an administrator."""
        return Client(KubeConfig.from_file(self.kubeconfig()))

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Create or change, as an administrator."""
        for manifest in manifests:
            self.admin.apply(from_dict(manifest), field_manager="tests", force=True)

    def apply_file(self, path: Path) -> None:
        """As `kubectl apply -f` by an administrator."""
        for found in load_all_yaml(path.read_text()):
            self.admin.apply(found, field_manager="tests", force=True)

    def account(self, namespace: str, name: str) -> None:
        """A service account in its namespace."""
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        )

    def token(self, namespace: str, name: str, audiences: Sequence[str], pod: Pod | None = None) -> str:
        """What the kubelet would project into *pod*; without one, a token of the account alone."""
        bound = BoundObjectReference("v1", "Pod", _meta(pod).name, _meta(pod).uid) if pod else None
        spec = TokenRequestSpec(audiences=list(audiences), boundObjectRef=bound, expirationSeconds=3600)
        wanted = ServiceAccountToken(metadata=ObjectMeta(), spec=spec)
        made = self.admin.create(wanted, name, namespace=namespace)
        assert made.status is not None
        return made.status.token or ""

    def run_pod(self, manifest: dict[str, Any], *, statuses: Sequence[dict[str, Any]] = ()) -> Pod:
        """The pod as the API has it, its containers reported as *statuses* say."""
        created = self.admin.create(cast("Pod", Pod.from_dict(manifest)))
        return self.report(created, statuses) if statuses else created

    def report(self, pod: Pod, statuses: Sequence[dict[str, Any]], **fields: Any) -> Pod:
        """What a kubelet reports of its containers, and of the pod."""
        meta = _meta(pod)
        patch = {"status": {"phase": "Running", "containerStatuses": list(statuses), **fields}}
        self.admin.patch(PodStatus, meta.name or "", patch, namespace=meta.namespace, patch_type=PatchType.MERGE)
        return self.admin.get(Pod, meta.name or "", namespace=meta.namespace)

    def delete_pod(self, pod: Pod) -> None:
        """At once, as after its grace period."""
        meta = _meta(pod)
        self.admin.delete(Pod, meta.name or "", namespace=meta.namespace, grace_period=0)

    def _ask_store(self, what: str, fields: dict[str, Any]) -> Any:
        with urllib.request.urlopen(f"{self._store}/v3/kv/{what}", json.dumps(fields).encode(), timeout=30) as answer:  # noqa: S310  # loopback
            return json.load(answer)

    def _ready(self) -> bool:
        asked = urllib.request.Request(f"{self.address}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})  # noqa: S310  # https
        try:
            trust = create_default_context(cafile=str(self.ca))
            with urllib.request.urlopen(asked, context=trust, timeout=30) as answer:  # noqa: S310
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False


@contextmanager
def cluster() -> Iterator[Kubernetes]:
    """A new control plane; its folder is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rfk8s-"))
    try:
        made = Kubernetes(folder)
        try:
            made.start()
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kubeconfig_of(cluster: dict[str, Any], user: dict[str, Any] | None = None) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "t", "cluster": cluster}],
        "users": [{"name": "t", "user": user or {}}],
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
        "current-context": "t",
    }


def _meta(pod: Pod) -> ObjectMeta:
    assert pod.metadata is not None
    return pod.metadata


def _api_flags(folder: Path, store: str, port: int) -> tuple[str, ...]:
    return (
        *(f"--etcd-servers={store}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"),
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",  # it makes a certificate of its own there
        f"--token-auth-file={folder / 'tokens.csv'}",
        *(f"--service-account-issuer={ISSUER}", f"--api-audiences={ISSUER}"),
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        *("--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC"),
        *("--endpoint-reconciler-type=none", "--enable-admission-plugins=NodeRestriction"),
    )


def _store_flags(folder: Path, url: str, peer: str) -> tuple[str, ...]:
    return (
        *("--name=t", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
        *(f"--listen-client-urls={url}", f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}"),
        *(f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=t={peer}"),
    )
