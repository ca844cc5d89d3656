"""What an operator asks of a running mesh, by the command line: server, agent and `ringfence run` with its Envoy."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plane import until
from tests.e2e.stack import Stack, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

INTENT = """\
kind: Workload
metadata: {name: web, namespace: shared}
spec:
  launch: {by: [{unix.uid: UID}]}
  serves: [{name: http, socket: web.sock, protocol: http}]
---
kind: Allow
metadata: {name: reads, namespace: shared}
spec:
  from: [{namespace: shared}]
  to: [{workload: web, port: http}]
  http: [{paths: ["/PATH/**"]}]
  owner: a-team
  reason: what is public may be read
"""


def asked(stack: Stack, *arguments: str) -> Any:
    """The items that a command prints; it ends with 0."""
    code, out = stack.ringfence(*arguments, "-o", "json")
    assert code == 0, out
    return json.loads(out)["items"]


def test_an_operator_follows_a_change_from_the_document_to_the_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applied and waited for, on the document, at the proxy, as it was sent, and as the Envoy holds it."""
    text = INTENT.replace("UID", str(os.geteuid()))
    with tempfile.TemporaryDirectory(prefix="rf-") as name, running_stack(Path(name), text) as stack:
        web = stack.workload("shared/web")
        until(stack.in_step, "the proxy")
        (stack.folder / "intent" / "rules.yaml").write_text(text.replace("PATH", "other"))
        code, out = stack.ringfence("policy", "apply", str(stack.folder / "intent"), "--wait", "--timeout", "30s")
        assert (code, out.splitlines()[-1].partition(" hold ")[0]) == (0, "1 of 1 proxies")

        rows = {row["document"]: row for row in asked(stack, "policy", "status")}
        assert (rows["Allow shared/reads"]["state"], rows["Allow shared/reads"]["applied"]) == ("Applied", "1/1")
        (proxy,) = asked(stack, "proxy", "status")
        assert proxy["state"] == "SYNCED"
        assert proxy["connectedAt"] <= proxy["answeredAt"]
        code, out = stack.ringfence("proxy", "wait", proxy["revision"][:12], "--for", "shared/web", "--timeout", "30s")
        assert code == 0, out
        (policy,) = [
            row
            for row in asked(stack, "proxy", "config", "shared/web", "--type", "policy")
            if row["name"] == "inbound/http/allow"
        ]
        assert policy["state"] == "accepted"
        assert "/other" in json.dumps(policy["resource"])

        code, out = stack.ringfence("proxy", "diff", proxy["node"])
        assert code == 1, "of another run's folder nobody knows"
        assert "cannot be reached from here" in out
        assert "--envoy-admin" in out
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(web.admin.parent.parent))
        assert stack.ringfence("proxy", "diff", proxy["node"]) == (0, "no difference\n")
