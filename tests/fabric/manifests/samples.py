"""Small manifests for tests; each is right, and is made wrong by the test that needs it."""

from __future__ import annotations

from ringfence.fabric.manifests.check import check
from ringfence.policy.findings import Finding
from tests.policy.intent import FABRIC, GRANT, MESH, NOW, TRAINER, model_of

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: rank
  namespace: team-a
  annotations: {x: "1"}
spec:
  serviceAccountName: trainer
  containers:
    - name: main
      resources: {limits: {rdma/hca_a: 1}}
"""
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: train, namespace: team-a}
spec:
  template:
    metadata:
      annotations: {x: "1"}
    spec:
      serviceAccountName: trainer
      containers:
        - name: main
          resources: {limits: {rdma/hca_a: 1}}
"""
GRANTED = (MESH, TRAINER, FABRIC, GRANT)


def found(*manifests: str, intent: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> list[Finding]:
    """What is said of files with *manifests*."""
    texts = [(f"m{at}.yaml", text) for at, text in enumerate(manifests)]
    return list(check(texts, model_of(*intent) if intent else None, NOW, frozenset(without)))


def codes(*manifests: str, intent: tuple[str, ...] = ()) -> list[str]:
    """The codes alone."""
    return [one.code for one in found(*manifests, intent=intent)]


def annotated(text: str, *annotations: str) -> str:
    """*text* with these in the place of the one that says nothing."""
    return text.replace('{x: "1"}', "{" + ", ".join(annotations) + "}")
