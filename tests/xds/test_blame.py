"""A refusal by Envoy leads back to the line of intent that caused it."""

import pytest

from ringfence.xds.blame import origin_of
from tests.xds.intent import model_of

MODEL = model_of()
PULL = next(rule for rule in MODEL.rules if rule.name == "pull")


@pytest.mark.parametrize(
    ("key", "detail", "line"),
    [
        (
            "shared/registry",
            f"Error adding/updating listener(s) x: bad regex in {PULL.policy_id} (…)",
            PULL.origin.line,
        ),
        (
            "team-a/trainer",
            "Error adding/updating listener(s) outbound/registry.shared/http: has duplicate address '127.0.0.1:4'",
            MODEL.workloads["shared/registry"].origin.line,
        ),
        (
            "team-a/trainer",
            "Error adding/updating cluster(s) egress/hub.shared/https/tunnel: ...",
            MODEL.externals["shared/hub"].origin.line,
        ),
        ("shared/registry", "listener(s) inbound/db: cannot bind", MODEL.workloads["shared/registry"].origin.line),
    ],
)
def test_a_name_in_the_text_leads_to_its_document(key: str, detail: str, line: int):
    """Whatever the unstable rest of the text says."""
    found = origin_of(MODEL, detail, MODEL.workloads[key])
    assert found is not None
    assert (found.path, found.line) == ("intent.yaml", line)


@pytest.mark.parametrize("detail", ["", "Didn't find a registered implementation", "inbound/db: unknown workload"])
def test_a_text_that_names_nothing_blames_nobody(detail: str):
    """A fault of ours is not put on a document."""
    assert origin_of(MODEL, detail) is None
