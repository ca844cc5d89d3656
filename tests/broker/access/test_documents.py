"""What an editor may do to the intent, each guard by the documents that only it refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringfence.broker.access.documents import Intended, IntentPermit
from ringfence.broker.access.rights import Caller
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.load import load_documents
from tests.broker.access.callers import ROOT, TD, editor, viewer
from tests.policy import intent, test_tokens

NOTHING = Intended((), None)


def workload(key: str, **spec: str) -> str:
    """A workload that serves http; *spec* replaces fields."""
    namespace, _, name = key.partition("/")
    fields = {"match": "[{unix.uid: 1001}]", "serves": "[{name: http, port: 80, protocol: http}]"} | spec
    body = ", ".join(f"{field}: {value}" for field, value in fields.items())
    return f"kind: Workload\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{body}}}\n"


def rule(key: str, source: str, target: str, kind: str = "Allow", reason: str = "it has to") -> str:
    """*source* may (not) call *target*."""
    namespace, _, name = key.partition("/")
    ends = [dict(zip(("namespace", "workload"), each.split("/"), strict=True)) for each in (source, target)]
    start, end = (f"{{workload: {e['workload']}, namespace: {e['namespace']}}}" for e in ends)
    spec = f"{{from: [{start}], to: [{end}], owner: me, reason: {reason}}}"
    return f"kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


MESH = "kind: Mesh\nspec: {trustDomain: example.org, defaults: {ttl: {x509: 30m}}}\n"
BASE = [workload("team-a/web"), workload("team-b/db"), rule("team-b/own", "team-a/web", "team-b/db")]


ISSUER = test_tokens.ISSUER.lstrip()
FOREIGN = rule("team-a/partner", "team-b/db", "team-a/web").replace(
    "{workload: db, namespace: team-b}", "{trustDomain: partner.example}"
)
RANKS = workload("team-a/trainer", job="llm", rank="unix.gid")  # of which an operator is one
PLAINTEXT = workload(
    "team-a/web",
    serves="[{name: http, port: 80, protocol: http, plaintext: {until: 2027-01-01T00:00:00Z, owner: o, reason: r}}]",
)
FABRIC = intent.FABRIC.lstrip()
GRANT = intent.GRANT.lstrip().replace("trainer", "web")


def intended(*documents: str) -> Intended:
    """What they mean together."""
    text = "---\n".join(f"apiVersion: ringfence.dev/v1alpha1\n{document}" for document in documents)
    loaded = load_documents([("x.yaml", text)], default_trust_domain=TD, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert loaded.model is not None, loaded.findings
    return Intended(loaded.documents, loaded.model)


def refusal(caller: Caller, before: Intended, after: Intended) -> str:
    """Why *caller* may not; empty when it may."""
    try:
        IntentPermit(caller).check(before, after)
    except RingfenceError as error:
        return error.detail if error.kind is Kind.DENIED else f"not denied but {error.kind}"
    return ""


@pytest.mark.parametrize(
    "after",
    [
        [*BASE],
        [*BASE, workload("team-a/job"), rule("team-a/in", "team-b/db", "team-a/web")],
        [workload("team-a/web", role="serving"), *BASE[1:]],
        [workload("team-a/web", dnsNames="[web.team-a.svc]"), *BASE[1:]],
        [*BASE, rule("team-a/no", "team-b/db", "team-a/web", "Deny")],
    ],
)
def test_an_editor_changes_its_own_documents(after: list[str]) -> None:
    """Who may reach its workloads included, whoever that is."""
    assert refusal(editor("team-a"), intended(*BASE), intended(*after)) == ""


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ([*BASE, workload("team-b/new")], "Workload team-b/new"),
        ([BASE[0], workload("team-b/db", role="data"), BASE[2]], "Workload team-b/db"),
        ([BASE[0], BASE[1]], "leave out Allow team-b/own"),
        ([BASE[0]], "editor of the namespace team-b"),
        ([*BASE[:2], rule("team-b/own", "team-a/web", "team-b/db", reason="another")], "Allow team-b/own"),
        ([*BASE, MESH], "Mesh"),
        ([*BASE, rule("team-a/out", "team-a/web", "team-b/db")], "who reaches team-b/db"),
        ([*BASE, rule("team-a/out", "team-a/web", "team-b/db", "Deny")], "who reaches team-b/db"),
        ([workload("team-a/web", dnsNames="[db.team-b]"), *BASE[1:]], "DNS name db.team-b"),
        ([*BASE, workload("team-a/deployer")], "rights of its own"),
        ([*BASE, RANKS], "rights of its own"),
        ([*BASE, ISSUER], "TokenIssuer team-a/corp"),
        ([*BASE, FOREIGN], "callers of another trust domain"),
        ([*BASE, FABRIC.replace("namespace: platform", "namespace: team-a")], "Fabric team-a/rail"),
        ([*BASE, FOREIGN.replace("trustDomain: partner.example", "plaintext: true")], "callers without an identity"),
        ([PLAINTEXT, *BASE[1:]], "which takes callers without an identity"),
        ([*BASE, FOREIGN.replace("trustDomain: partner.example", "id: 'spiffe://partner.example/x'")], "another trust"),
    ],
)
def test_an_editor_changes_nothing_that_is_or_reaches_anothers(after: list[str], says: str) -> None:
    """Refused as a whole; an admin may."""
    caller = editor("team-a", privileged=["/ns/team-a/sa/deployer", "/ns/team-a/job/llm/rank/0"])
    assert says in refusal(caller, intended(*BASE), intended(*after))
    assert refusal(ROOT, intended(*BASE), intended(*after)) == ""


def test_who_is_on_a_fabric_is_said_by_the_editors_of_the_fabrics_namespace() -> None:
    """Not by those of the namespace of the grant alone, neither to give leave nor to take it back."""
    without, granted = intended(*BASE, FABRIC), intended(*BASE, FABRIC, GRANT)
    later = intended(*BASE, FABRIC, GRANT.replace("2027", "2028"))
    for before, after in ((without, granted), (granted, without), (granted, later)):
        assert "who is on platform/rail" in refusal(editor("team-a"), before, after)
        assert "FabricGrant team-a/llm" in refusal(editor("platform"), before, after)
        assert refusal(editor("team-a", "platform"), before, after) == ""
        assert refusal(ROOT, before, after) == ""
    assert refusal(editor("team-a"), granted, granted) == ""


@pytest.mark.parametrize(("old", "new"), [("[team-a]", "[team-a, team-b]"), ("pkey: 0x0012", "pkey: 0x0013")])
def test_what_a_fabric_is_is_an_admins_to_say(old: str, new: str) -> None:
    """Whom it may be granted to before all."""
    changed = intended(*BASE, FABRIC.replace(old, new))
    caller = editor("team-a", "team-b", "platform")
    assert "Fabric platform/rail" in refusal(caller, intended(*BASE, FABRIC), changed)
    assert refusal(ROOT, intended(*BASE, FABRIC), changed) == ""


def test_what_an_admin_let_reach_others_is_not_the_editors_to_change_or_remove() -> None:
    """As it was counts as much as what it is to be."""
    held = [*BASE, rule("team-a/out", "team-a/web", "team-b/db")]
    inside = rule("team-a/out", "team-b/db", "team-a/web")
    assert refusal(editor("team-a"), intended(*held), intended(*held)) == ""
    assert "who reaches team-b/db" in refusal(editor("team-a"), intended(*held), intended(*BASE))
    assert "who reaches team-b/db" in refusal(editor("team-a"), intended(*held), intended(*BASE, inside))
    assert refusal(editor("team-a", "team-b"), intended(*held), intended(*BASE)) == ""
    named = [*BASE, workload("team-a/web2", dnsNames="[db.team-b]")]
    assert "DNS name" in refusal(editor("team-a"), intended(*named), intended(*BASE))


def test_who_edits_nothing_changes_nothing() -> None:
    """A viewer of everything may apply what is in force, and nothing else; so from the first document on."""
    assert refusal(viewer(), intended(*BASE), intended(*BASE)) == ""
    assert "takes an editor of the namespace team-a" in refusal(viewer(), NOTHING, intended(BASE[0]))
    assert refusal(editor("team-a"), NOTHING, intended(BASE[0])) == ""
