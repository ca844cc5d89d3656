"""Small intents for tests, and the short ways to load them."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import dedent

from ringfence.policy.findings import Finding
from ringfence.policy.load import Loaded, load_documents
from ringfence.policy.model import Model

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

MESH = """
kind: Mesh
spec: {trustDomain: example.test}
"""

TRAINER = """
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
"""

NOTEBOOK = """
kind: Workload
metadata: {name: notebook, namespace: team-b}
spec: {role: other, match: [{unix.uid: 1003}]}
"""

REGISTRY = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: 8080, protocol: http}, {name: db, socket: .s.PGSQL.5432, protocol: postgres}]
"""

HUB = """
kind: External
metadata: {name: hub, namespace: shared}
spec: {host: hub.example, ports: [{name: https, port: 443, protocol: http}]}
"""

PULL = """
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]
  owner: ml
  reason: base model
"""

FABRIC = """
kind: Fabric
metadata: {name: rail, namespace: platform}
spec:
  kind: infiniband
  interfaces: ["ib*", "0000:17:00.0"]
  cidrs: [192.168.50.0/24]
  mtu: 4092
  partition: {pkey: 0x0012}
  ports: [50000-51000]
  tenants: [team-a]
  enforcedBy: pkey
"""

GRANT = """
kind: FabricGrant
metadata: {name: llm, namespace: team-a}
spec:
  fabric: {name: rail, namespace: platform}
  identities: [{workload: trainer}]
  job: llm-7b
  expires: 2027-01-31T00:00:00Z
  owner: ml-platform
  reason: pre-training
"""


def joined(*documents: str) -> str:
    """Several documents as one file; each keeps its own lines, the first begins in line 1."""
    return "---\n".join(dedent(document).lstrip("\n") for document in documents)


def load(*documents: str, now: datetime = NOW) -> Loaded:
    """What one file with *documents* means."""
    return load_documents([("intent.yaml", joined(*documents))], now=now)


def model_of(*documents: str, now: datetime = NOW) -> Model:
    """The model of documents that must be right."""
    loaded = load(*documents, now=now)
    assert loaded.model is not None, [str(finding) for finding in loaded.findings]
    return loaded.model


def codes(loaded: Loaded) -> list[str]:
    """The codes found, in order."""
    return [finding.code for finding in loaded.findings]


def only(loaded: Loaded) -> Finding:
    """The one finding that there is."""
    assert len(loaded.findings) == 1, [str(finding) for finding in loaded.findings]
    return loaded.findings[0]
