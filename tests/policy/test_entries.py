"""What a model registers."""

from ringfence.policy.entries import entries_of, launch_rules_of
from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, model_of


def test_each_alternative_of_a_match_is_an_entry():
    """All selectors within one alternative must hold; alternatives are entries of their own, each once."""
    trainer = TRAINER.replace(
        "[{unix.uid: 1001}]", "[{unix.uid: 1001, unix.path: /bin/x}, {k8s.sa: t}, {k8s.sa: t}], dnsNames: [t.example]"
    )
    drafts = [d for d in entries_of(model_of(MESH, trainer, REGISTRY, PULL)) if d.origin == "team-a/trainer"]
    assert [[str(s) for s in draft.selectors] for draft in drafts] == [
        ["k8s:sa:t"],
        ["unix:path:/bin/x", "unix:uid:1001"],
    ]
    assert {str(draft.spiffe_id) for draft in drafts} == {"spiffe://example.test/ns/team-a/sa/trainer"}
    assert {draft.dns_names for draft in drafts} == {("t.example",)}


def test_a_launch_is_an_entry_and_a_rule():
    """What may be launched is matched by namespace and name together; who may vouch stands in its launch rule."""
    trainer = TRAINER.replace(
        "match: [{unix.uid: 1001}]", "launch: {by: [{unix.uid: 1000}, {unix.gid: 5, unix.user: u}]}"
    )
    model = model_of(MESH, trainer, REGISTRY, PULL)
    (draft,) = (d for d in entries_of(model) if d.origin == "team-a/trainer")
    assert [str(s) for s in draft.selectors] == ["launch:name:trainer", "launch:namespace:team-a"]
    (rule,) = launch_rules_of(model)
    assert (rule.namespace, rule.name) == ("team-a", "trainer")
    assert [[str(s) for s in one] for one in rule.by] == [["unix:gid:5", "unix:user:u"], ["unix:uid:1000"]]


def test_a_job_is_rules_of_its_ranks():
    """Who was launched has its rank from the launcher, and who is matched from the selector that the document names."""
    job = (
        "job: llm, rank: k8s.pod-label.batch.kubernetes.io/job-completion-index, launch: {by: [{unix.uid: 7}]}, match:"
    )
    model = model_of(MESH, TRAINER.replace("match:", job), REGISTRY, PULL)
    drafts = [d for d in entries_of(model) if d.origin == "team-a/trainer"]
    ranks = "/ns/team-a/job/llm/rank"
    assert [(str(d.spiffe_id), d.template, [str(s) for s in d.selectors]) for d in drafts] == [
        ("spiffe://example.test", f"{ranks}/{{launch.rank}}", ["launch:name:trainer", "launch:namespace:team-a"]),
        (
            "spiffe://example.test",
            f"{ranks}/{{k8s.pod-label.batch.kubernetes.io/job-completion-index:number}}",
            ["unix:uid:1001"],
        ),
    ]
    assert {rule.job for rule in launch_rules_of(model)} == {"llm"}
