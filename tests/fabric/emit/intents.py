"""A small model with a fabric of each kind, and what is asked of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ringfence.fabric.emit.asked import Asked, Facts
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model

NOW = datetime(2026, 12, 1, tzinfo=UTC)
GUIDS = ("0x0002c903000e0b73", "0002c903000e0b72")
INTENT = """\
kind: Mesh
spec: {trustDomain: ai.example}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: Workload
metadata: {name: tuner, namespace: team-b}
spec: {role: training, match: [{unix.uid: 1002}]}
---
kind: Fabric
metadata: {name: ib, namespace: platform}
spec:
  {kind: infiniband, interfaces: ["ib*"], cidrs: [192.168.50.0/24], partition: {pkey: 0x0012},
   tenants: [team-a, team-b], enforcedBy: pkey}
---
kind: Fabric
metadata: {name: roce, namespace: platform}
spec:
  {kind: roce, interfaces: [rdma0, "0000:17:00.0"], cidrs: [192.168.51.0/24], mtu: 4096, partition: {vlan: 71},
   ports: [50000-51000, 52000], tenants: [team-a], enforcedBy: rdma-netns}
---
kind: Fabric
metadata: {name: tcp, namespace: platform}
spec:
  {kind: tcp, interfaces: [fab0], cidrs: [192.168.52.0/24], mtu: 9000, ports: [50000-51000], tenants: [team-a, team-b],
   enforcedBy: host-firewall}
---
kind: Fabric
metadata: {name: efa, namespace: platform}
spec: {kind: efa, interfaces: ["rdmap*"], tenants: [team-a], enforcedBy: security-group}
---
kind: Fabric
metadata: {name: known-efa, namespace: platform}
spec:
  {kind: efa, interfaces: ["efa*"], partition: {securityGroup: sg-0123456789abcdef0}, tenants: [team-a],
   enforcedBy: security-group}
---
kind: Fabric
metadata: {name: nvl, namespace: platform}
spec: {kind: nvlink, tenants: [team-a], enforcedBy: imex}
---
kind: Fabric
metadata: {name: disks, namespace: platform}
spec: {kind: tcp, plane: storage, interfaces: [nfs0], cidrs: [192.168.53.0/24], tenants: [team-a], enforcedBy: nothing}
---
kind: FabricGrant
metadata: {name: llm, namespace: team-a}
spec:
  {fabric: {name: tcp, namespace: platform}, identities: [{workload: trainer}, {workload: tuner, namespace: team-b}],
   job: llm, expires: 2027-01-31T00:00:00Z, owner: o, reason: r}
---
kind: FabricGrant
metadata: {name: all, namespace: team-b}
spec:
  {fabric: {name: tcp, namespace: platform}, identities: [{namespace: team-b}], job: tune,
   expires: 2027-02-28T00:00:00Z, owner: o, reason: r}
---
kind: FabricGrant
metadata: {name: ended, namespace: team-a}
spec:
  {fabric: {name: tcp, namespace: platform}, identities: [{workload: trainer}], job: ended,
   expires: 2026-12-01T00:00:00Z, owner: o, reason: r}
---
kind: Fabric
metadata: {name: hsn, namespace: platform}
spec:
  {kind: slingshot, interfaces: ["hsn*"], partition: {vni: 1000}, tenants: [team-a], enforcedBy: vni}
"""


def model(text: str = INTENT) -> Model:
    """What *text* means; it is in order."""
    loaded = load_documents([("fabrics.yaml", text)], now=datetime(2026, 11, 1, tzinfo=UTC))
    assert loaded.model is not None, loaded.findings
    return loaded.model


def asked(target: str, fabric: str, *, now: datetime = NOW, text: str = INTENT, **facts: Any) -> Asked:
    """Of the fabric `platform/FABRIC`."""
    made = model(text)
    return Asked(target, made, made.fabrics[f"platform/{fabric}"], now, Facts(**facts))
