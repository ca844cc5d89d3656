"""Whole sets of documents: names, references, files and hashes."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.load import load_documents
from ringfence.policy.model import Effect, Mode
from ringfence.policy.resolve import Reader
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, codes, joined, load, model_of, only


def test_a_set_becomes_a_model():
    """Identities, lifetimes, rules and their places are what the documents say."""
    model = model_of(MESH, TRAINER, REGISTRY, PULL)
    trainer = model.workloads["team-a/trainer"]
    assert str(trainer.spiffe_id) == "spiffe://example.test/ns/team-a/sa/trainer"
    assert (trainer.x509_ttl, trainer.jwt_ttl) == (timedelta(hours=1), timedelta(minutes=5))
    (rule,) = model.rules
    assert (rule.effect, rule.mode, rule.sources) == (Effect.ALLOW, Mode.ENFORCE, (Source(trainer.spiffe_id, None),))
    assert (str(rule.origin), rule.policy_id) == ("intent.yaml:14", f"team-a/pull@{rule.hash}")
    assert len(rule.hash) == 12
    assert len(model.revision) == 64


def test_lifetimes_come_from_the_workload_then_the_mesh():
    """A workload's own lifetime wins over the mesh's default, each kind by itself."""
    mesh = "kind: Mesh\nspec: {trustDomain: example.test, defaults: {ttl: {x509: 30m, jwt: 2m}}}\n"
    model = model_of(mesh, TRAINER.replace("role: training", "ttl: {x509: 1h30m}"), REGISTRY, PULL)
    trainer, registry = model.workloads["team-a/trainer"], model.workloads["shared/registry"]
    assert (trainer.x509_ttl, trainer.jwt_ttl) == (timedelta(minutes=90), timedelta(minutes=2))
    assert registry.x509_ttl == timedelta(minutes=30)


def test_documents_may_come_in_several_files_in_any_order():
    """Where a document stands changes its place and nothing else."""
    texts = [(f"{i}.yaml", joined(text).encode()) for i, text in enumerate((PULL, REGISTRY, MESH, TRAINER))]
    assert load_documents(texts).model == load_documents(texts[::-1]).model
    assert load_documents(texts).model == model_of(MESH, TRAINER, REGISTRY, PULL)


def test_without_a_mesh_the_trust_domain_is_given():
    """A server's own trust domain stands in for a missing Mesh; with neither there is an error."""
    texts = [("a.yaml", joined(TRAINER))]
    loaded = load_documents(texts, default_trust_domain="other.test")
    assert loaded.model is not None
    assert loaded.model.mesh.trust_domain == TrustDomain("other.test")
    assert load_documents(texts, default_trust_domain=TrustDomain("other.test")).model == loaded.model
    assert "RF1208" in codes(load_documents(texts))
    assert codes(load_documents([])) == ["RF1208"]


def test_nothing_at_all_is_a_mesh_that_denies():
    """An empty set with a trust domain is a model without rules."""
    loaded = load_documents([], default_trust_domain="example.test")
    assert loaded.model is not None
    assert loaded.model.rules == ()


def test_documents_are_listed_with_a_hash_of_their_own():
    """An edit of one document, its reason included, changes its hash alone; a comment changes none."""
    before = {str(d): d.hash for d in load(MESH, TRAINER, REGISTRY, PULL).documents}
    commented = {str(d): d.hash for d in load("# new\n" + MESH.lstrip(), TRAINER, REGISTRY, PULL).documents}
    edited = {str(d): d.hash for d in load(MESH, TRAINER, REGISTRY, PULL.replace("base model", "other")).documents}
    assert list(before) == ["Allow team-a/pull", "Mesh mesh", "Workload shared/registry", "Workload team-a/trainer"]
    assert commented == before
    assert {name for name in before if before[name] != edited[name]} == {"Allow team-a/pull"}


ALL = PULL.replace('  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]\n', "")


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        ((MESH, MESH), "RF1207"),
        ((MESH, TRAINER, TRAINER, REGISTRY, PULL), "RF1201"),
        ((MESH, TRAINER, REGISTRY, PULL, PULL.replace("Allow", "Deny")), "RF1201"),
        ((MESH, TRAINER, REGISTRY, HUB.replace("hub,", "registry,"), PULL), "RF1201"),
        ((MESH, TRAINER, PULL), "RF1202"),
        ((MESH, TRAINER, REGISTRY, PULL.replace("workload: trainer", "namespace: team-x")), "RF1202"),
        ((MESH, TRAINER, REGISTRY, PULL.replace("workload: registry", "external: registry")), "RF1202"),
        ((MESH, TRAINER, REGISTRY, PULL.replace("port: http", "port: htp")), "RF1203"),
        ((MESH, TRAINER, REGISTRY, PULL.replace(", port: http", "")), "RF1204"),
        ((MESH, TRAINER, PULL.replace("registry, namespace: shared, port: http", "trainer")), "RF1204"),
        ((MESH, TRAINER, REGISTRY, PULL.replace("port: http", "port: db")), "RF1205"),
        ((MESH, TRAINER, REGISTRY, PULL.replace("port: http", "port: db").replace("Allow", "Deny")), "RF1205"),
        ((MESH, TRAINER, REGISTRY.replace("name: db", "name: http"), ALL), "RF1206"),
        ((MESH, TRAINER, REGISTRY.replace("socket: .s.PGSQL.5432", "port: 8080"), PULL), "RF1206"),
    ],
)
def test_documents_that_do_not_fit_together_are_an_error(documents: tuple[str, ...], code: str):
    """Double names, references that lead nowhere and clashes leave no model."""
    loaded = load(*documents)
    assert loaded.model is None
    assert [found.code for found in loaded.findings if found.level == "error"] == [code]


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("workload: registry", "workload: regstry", "Did you mean 'shared/registry'?"),
        ("port: http", "port: htpp", "Did you mean 'http'?"),
        (", port: http", "", "Add port: db or http"),
    ],
)
def test_a_reference_that_leads_nowhere_comes_with_what_was_meant(old: str, new: str, hint: str):
    """The hint names the nearest thing that is declared, or the choice."""
    loaded = load(MESH, TRAINER, REGISTRY, PULL.replace(old, new))
    assert [found.hint for found in loaded.findings if found.level == "error"] == [hint]


def test_a_reference_to_a_broken_document_is_not_blamed_on_the_rule():
    """Only the cause is reported, not what follows from it."""
    assert codes(load(MESH, TRAINER, REGISTRY.replace("spec:", "spec:\n  role: king"), PULL)) == ["RF1104"]
    assert codes(load(MESH, TRAINER, PULL, "kind: [\n")) == ["RF1001"]
    broken = TRAINER.replace("role: training", "role: king")
    assert codes(load(MESH, broken, REGISTRY, PULL.replace("workload: trainer", "namespace: team-a"))) == ["RF1104"]


def test_a_port_may_be_left_out_where_there_is_one():
    """The only port of a destination is the one that is meant."""
    model = model_of(
        MESH,
        TRAINER,
        HUB,
        PULL.replace("workload: registry, namespace: shared, port: http", "external: hub, namespace: shared"),
    )
    assert [(d.key, d.port) for d in model.rules[0].destinations] == [("shared/hub", "https")]


def test_an_expired_rule_is_noted_once_the_time_is_known():
    """A rule that has run out is a warning, and the model stands."""
    expired = PULL.replace("owner: ml", "owner: ml\n  expires: 2026-11-24T13:00:00+01:00")
    found = only(load(MESH, TRAINER, REGISTRY, expired))
    assert (found.code, found.level) == ("RF1301", "warning")
    loaded = load_documents([("a.yaml", joined(MESH, TRAINER, REGISTRY, expired))], now=NOW - timedelta(seconds=1))
    assert loaded.findings == ()


CA_FILE = HUB.replace("host: hub.example", "host: hub.example, caFile: ca/hub.pem")


def test_a_ca_file_is_found_beside_its_document(ca_pem: str):
    """It comes from the texts given along, else from the reader, by a path relative to the document."""
    texts = [("intent/a.yaml", joined(MESH, CA_FILE)), ("intent/ca/hub.pem", ca_pem)]
    model = load_documents(texts).model
    assert model is not None
    assert model.externals["shared/hub"].ca_pem == ca_pem
    assert load_documents(texts[:1], read={"intent/ca/hub.pem": ca_pem}.__getitem__).model == model
    inline = (
        HUB.replace("host: hub.example", f"host: hub.example, ca: {ca_pem!r}")
        .replace("'-----", '"-----')
        .replace("-----\\n'", '-----\\n"')
    )
    assert load_documents([("a.yaml", joined(MESH, inline))]).model == model


def _unreadable(path: str) -> str:
    raise PermissionError(13, "Permission denied", path)


@pytest.mark.parametrize(
    ("attached", "read", "message"),
    [
        ([], None, "cannot read intent/ca/hub.pem: it was not given along with the documents"),
        ([], _unreadable, "cannot read intent/ca/hub.pem: Permission denied"),
        ([("intent/ca/hub.pem", b"\xff")], None, "cannot read intent/ca/hub.pem: it is not text"),
        ([("intent/ca/hub.pem", "words")], None, "there is no PEM certificate here"),
    ],
)
def test_a_ca_file_that_cannot_be_used_is_an_error(
    attached: list[tuple[str, str | bytes]], read: Reader | None, message: str
):
    """The finding says which file and why; a server without a reader reads no file at all."""
    found = only(load_documents([("intent/a.yaml", joined(MESH, CA_FILE)), *attached], read=read))
    assert (found.code, found.message) == ("RF1109", message)


_PIECES = st.sampled_from(
    [
        "kind: ",
        "Allow",
        "Mesh",
        "Workload",
        "\n",
        "spec:",
        " ",
        "{",
        "}",
        "[",
        "]",
        "- ",
        "metadata: {name: a, namespace: b}",
        "from: [{all: true}]",
        "http:",
        ": ",
        "match: [{unix.uid: 1}]",
        "trustDomain: x",
        "---\n",
        "0",
        "null",
        "'",
        "launch: {by: 1}",
        "caFile: x",
        "External",
        "serves: 1",
    ]
)


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_no_set_of_documents_raises(text: str):
    """Whatever is written, loading it ends in a model or in errors, never in an exception."""
    loaded = load_documents([("a.yaml", text)], default_trust_domain="example.test", now=NOW)
    assert (loaded.model is None) == any(found.level == "error" for found in loaded.findings)
