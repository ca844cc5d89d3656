"""Warnings: right in form, worth a look, and no reason to refuse."""

import pytest

from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, load, only

OTHER = TRAINER.replace("name: trainer", "name: other")


@pytest.mark.parametrize(
    ("documents", "code", "line"),
    [
        ((MESH, TRAINER, REGISTRY, PULL.replace("workload: trainer", "all: true"), OTHER), "RF1303", 21),
        ((MESH, TRAINER, REGISTRY, PULL, OTHER.replace("1001", "7")), "RF1302", 22),
        ((MESH, TRAINER.replace(", match: [{unix.uid: 1001}]", ""), REGISTRY, PULL), "RF1304", 4),
    ],
)
def test_a_warning_names_its_place_and_keeps_the_model(documents: tuple[str, ...], code: str, line: int):
    """Unused, doubly matched and unmatchable workloads are pointed out."""
    loaded = load(*documents)
    found = only(loaded)
    assert (found.code, found.level) == (code, "warning")
    assert loaded.model is not None


def test_a_workload_that_a_wide_rule_means_is_used():
    """A rule for a namespace or for all uses every workload in it."""
    for source in ("all: true", "namespace: team-a"):
        rule = PULL.replace("workload: trainer", source)
        assert load(MESH, TRAINER, REGISTRY, rule, OTHER.replace("1001", "7")).findings == ()


def test_no_workload_is_called_unused_while_a_rule_cannot_be_read():
    """The broken rule may name it."""
    assert {f.level for f in load(MESH, TRAINER, REGISTRY, PULL.replace("reason", "raison")).findings} == {"error"}
