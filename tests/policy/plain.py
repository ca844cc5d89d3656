"""An intent with a port that takes callers without mutual TLS, for tests of every part of it."""

from __future__ import annotations

from ringfence.policy.model import Model
from tests.policy import intent
from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, joined

OWNED = "owner: ml-platform, reason: two jobs are still outside"
UNTIL = "2026-12-24T00:00:00Z"  # after tests.policy.intent.NOW

PROBE = """
kind: Allow
metadata: {name: probe, namespace: shared}
spec:
  from: [{plaintext: true}]
  to: [{workload: registry, port: http}]
  http: [{paths: [/ready]}]
  owner: ml
  reason: a probe that is still outside
"""


def model_of() -> Model:
    """The whole of it."""
    return intent.model_of(text())


def taking(more: str = "", until: str = UNTIL, registry: str = REGISTRY) -> str:
    """The registry, whose HTTP port takes plaintext."""
    return registry.replace("protocol: http}", f"protocol: http, plaintext: {{until: {until}, {OWNED}{more}}}}}")


def text(*documents: str, more: str = "", until: str = UNTIL) -> str:
    """The trainer may pull, and whoever comes in plaintext may probe."""
    return joined(MESH, TRAINER, taking(more, until), PULL, PROBE, *documents)
