"""The two files of a site for a sync: what each line may say."""

from __future__ import annotations

import pytest

from ringfence.broker.slurm.tables import nodes, tenants
from ringfence.certs.errors import RingfenceError


def test_a_group_may_have_several_identities() -> None:
    """In the order of the file; comments and empty lines are none."""
    text = (
        "# who\nteam-a /ns/team-a/slurm/%j\n\nteam-a /ns/team-a/slurm/%j/step/{slurm.step} # each step\nb /ns/b/sa/x\n"
    )

    assert tenants(text, "f") == {
        "team-a": ("/ns/team-a/slurm/%j", "/ns/team-a/slurm/%j/step/{slurm.step}"),
        "b": ("/ns/b/sa/x",),
    }


@pytest.mark.parametrize("path", ["ns/a/x", "/ringfence/agent/x", "/ns/{k8s.ns}/x", "/ns/%j/x", "/ns/a", "/ns/A/x"])
def test_an_identity_is_below_a_namespace_that_is_written_out(path: str) -> None:
    """Never in one that a job could fill in."""
    with pytest.raises(RingfenceError) as refused:
        tenants(f"\nteam-a {path}\n", "file")

    assert refused.value.where == "file:2"


def test_a_node_has_one_agent() -> None:
    """The same line twice says nothing new."""
    assert nodes("n1 /ringfence/agent/a\nn1 /ringfence/agent/a\nn2 /ns/x/node/n2", "f") == {
        "n1": "/ringfence/agent/a",
        "n2": "/ns/x/node/n2",
    }
    with pytest.raises(RingfenceError, match="two agents"):
        nodes("n1 /ringfence/agent/a\nn1 /ringfence/agent/b", "f")


@pytest.mark.parametrize("text", ["n1", "n1 /a /b", "n1 spiffe://example.org/ringfence/agent/a"])
def test_a_line_that_says_something_else_is_an_error(text: str) -> None:
    """With its place."""
    with pytest.raises(RingfenceError) as refused:
        nodes(text, "file")

    assert refused.value.where == "file:1"
