"""The admin API by a grpcio client on the real socket."""

from __future__ import annotations

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from tests.broker.server.harness import running_server

INTENT = """\
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec:
  role: training
  match: [{unix.uid: 1001}]
  launch: {by: [{unix.uid: 1000}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  role: registry
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: 8080, protocol: http}]
---
apiVersion: ringfence.dev/v1alpha1
kind: Allow
metadata: {name: train-pulls-model, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/team-a/**"]}]
  owner: ml-platform
  reason: base model
"""


async def test_apply_check_and_restart(tmp_path):
    """x."""
    async with running_server(tmp_path) as server:
        done = await server.apply({"intent/a.yaml": INTENT}, author="a", commit="c0ffee")
        print(done)
        assert [c.action for c in done.changes] == ["created"] * 3
        d = await server.admin.CheckAuthz(pb.CheckAuthzRequest(source="team-a/trainer", destination="shared/registry", method="GET", path="/models/team-a/x"))
        print(d)
        assert d.allowed
        assert (d.path, d.line, d.author, d.commit) == ("intent/a.yaml", 17, "a", "c0ffee")
        done = await server.apply({"intent/a.yaml": "# moved\n" + INTENT}, author="b", commit="c1")
        assert [c.action for c in done.changes] == ["unchanged"] * 3
    async with running_server(tmp_path) as server:
        d = await server.admin.CheckAuthz(pb.CheckAuthzRequest(source="team-a/trainer", destination="shared/registry", method="GET", path="/models/team-a/x"))
        assert (d.path, d.line, d.author, d.commit) == ("intent/a.yaml", 18, "a", "c0ffee")
        assert len((await server.admin.ListEntries(pb.ListEntriesRequest())).entries) == 3
