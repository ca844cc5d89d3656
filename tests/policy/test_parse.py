"""One document: its kind and fields, with every error on its own line."""

import pytest

from ringfence.policy.documents import KINDS
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, codes, load, only


def test_every_error_of_a_document_comes_at_once_at_its_place():
    """Shape, selector and reference errors of one file are listed together, each with line and column."""
    loaded = load(
        MESH,
        """
        kind: Workload
        metadata: {name: Trainer, namespace: team-a}
        spec:
          match: [{unix.uiid: 1001}]
          serves: [{name: c10d, port: many, protocol: tcp}]
        ---
        kind: Allow
        metadata: {name: pull, namespace: team-a}
        spec:
          from: [{workload: nobody}]
          to: [{workload: Registry}]
          ownr: ml
        """,
    )
    assert loaded.model is None
    found = [(f.code, f.line, f.column) for f in loaded.findings]
    assert found == [
        ("RF1105", 5, 18),
        ("RF1106", 7, 12),
        ("RF1104", 8, 31),
        ("RF1103", 13, 3),
        ("RF1103", 13, 3),
        ("RF1202", 13, 21),
        ("RF1105", 14, 19),
        ("RF1102", 15, 3),
    ]
    hints = {f.code: f.hint for f in loaded.findings}
    assert hints["RF1106"] == "Did you mean 'unix.uid'?"
    assert hints["RF1102"] == "Did you mean 'owner'?"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("kind: Allow", "kind: Alow", "RF1101"),
        ("kind: Allow", "kind: [Allow]", "RF1101"),
        ("kind: Allow", "apiVersion: ringfence.dev/v9\nkind: Allow", "RF1101"),
        ("kind: Allow", "name: x", "RF1103"),
        ("owner: ml", "owner: ml\n  severity: high", "RF1102"),
        ("owner: ml\n", "\n", "RF1103"),
        ("reason: base model\n", "\n", "RF1103"),
        ("reason: base model", "reason:", "RF1104"),
        ("reason: base model", "reason: ''", "RF1104"),
        ("reason: base model", "reason: 7", "RF1104"),
        ("name: pull", "name: Pull", "RF1105"),
        ("name: pull", "name: 'pull\n\n'", "RF1105"),
        ("name: pull", "name: " + "x" * 64, "RF1105"),
        ("methods: [GET, HEAD]", "methods: []", "RF1104"),
        ("methods: [GET, HEAD]", "methods: [get]", "RF1104"),
        ("methods: [GET, HEAD]", "methods: GET", "RF1104"),
        ("/models/team-a/**", "/models/**/x", "RF1107"),
        ("/models/team-a/**", "models", "RF1107"),
        ("{workload: trainer}", "{}", "RF1104"),
        ("{workload: trainer}", "{all: false}", "RF1104"),
        ("{workload: trainer}", "{all: true, workload: trainer}", "RF1104"),
        ("workload: registry,", "workload: registry, external: hub,", "RF1104"),
        ("owner: ml", "owner: ml\n  expires: tomorrow", "RF1108"),
        ("owner: ml", "owner: ml\n  expires: 2026-12-31", "RF1108"),
        ("owner: ml", "owner: ml\n  expires: 2026-12-31T00:00:00", "RF1108"),
        ("owner: ml", "owner: ml\n  expires: 2026-13-31T00:00:00Z", "RF1108"),
        ("owner: ml", "owner: ml\n  mode: audit", "RF1104"),
        ('http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]', "http:", "RF1104"),
        ('http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]', "http: [{}]", "RF1104"),
        ('http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]', "http: []", "RF1104"),
    ],
)
def test_a_rule_that_is_not_well_formed_is_an_error(old: str, new: str, code: str):
    """Nothing in a rule is guessed, converted, dropped or read as wider than it is written."""
    assert old in PULL
    loaded = load(MESH, TRAINER, REGISTRY, PULL.replace(old, new))
    assert loaded.model is None
    assert codes(loaded) == [code]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("port: 8080", "port: 0", "RF1104"),
        ("port: 8080", "port: 65536", "RF1104"),
        ("port: 8080", "port: '8080'", "RF1104"),
        ("port: 8080", "port: true", "RF1104"),
        ("port: 8080", "port: 8080, socket: x", "RF1104"),
        ("port: 8080, ", "", "RF1104"),
        ("socket: .s.PGSQL.5432", "socket: ../x", "RF1105"),
        ("socket: .s.PGSQL.5432", "socket: ..", "RF1105"),
        ("protocol: http", "protocol: https", "RF1104"),
        ("spec:", "spec:\n  role: king", "RF1104"),
        ("spec:", "spec:\n  ttl: {x509: 1s}", "RF1108"),
        ("spec:", "spec:\n  ttl: {x509: 8d}", "RF1108"),
        ("spec:", "spec:\n  ttl: {jwt: 60}", "RF1108"),
        ("spec:", "spec:\n  dnsNames: [UPPER.example]", "RF1105"),
        ("spec:", "spec:\n  dnsNames: ['*.example']", "RF1105"),
        ("match: [{unix.uid: 1002}]", "match: [{}]", "RF1104"),
        ("match: [{unix.uid: 1002}]", "match: []", "RF1104"),
        ("match: [{unix.uid: 1002}]", "match: [{unix.uid: true}]", "RF1104"),
        ("match: [{unix.uid: 1002}]", "match: [{unix.uid: [1]}]", "RF1104"),
    ],
)
def test_a_workload_that_is_not_well_formed_is_an_error(old: str, new: str, code: str):
    """Ports, sockets, lifetimes and selectors are taken only as they are meant."""
    assert old in REGISTRY
    loaded = load(MESH, TRAINER, REGISTRY.replace(old, new), PULL)
    assert loaded.model is None
    assert set(codes(loaded)) == {code}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("host: hub.example", "host: '*.example'", "RF1105"),
        ("host: hub.example", "host: hub.example, address: 'a b'", "RF1104"),
        ("host: hub.example", "host: hub.example, address: 'a:70000'", "RF1104"),
        ("protocol: http}]", "protocol: http}, {name: b, port: 1, protocol: tcp}], address: 'a:1'", "RF1104"),
        ("host: hub.example", "host: hub.example, ca: x", "RF1109"),
        ("host: hub.example", "host: hub.example, ca: x, caFile: y", "RF1109"),
    ],
)
def test_an_external_host_that_is_not_well_formed_is_an_error(old: str, new: str, code: str):
    """A host is one exact name; an address stands for one port."""
    assert old in HUB
    assert only(load(MESH, HUB.replace(old, new))).code == code


def test_a_document_is_a_mapping():
    """A list in the place of a document is an error with its line."""
    assert only(load(MESH, "- a\n")).code == "RF1006"


def test_an_unknown_kind_is_met_with_the_nearest():
    """The hint spells the kind that was probably meant."""
    assert only(load(MESH, PULL.replace("kind: Allow", "kind: Alow"))).hint == "Did you mean 'Allow'?"
    assert set(KINDS) == {
        "Mesh",
        "Workload",
        "External",
        "Allow",
        "Deny",
        "Traffic",
        "TokenIssuer",
        "Fabric",
        "FabricGrant",
    }


def test_a_file_that_was_read_before_means_the_same_again():
    """What is remembered of an unchanged file holds its errors too, and an edit is always seen."""
    broken = PULL.replace("owner", "ownr")
    first, again = load(MESH, TRAINER, REGISTRY, broken), load(MESH, TRAINER, REGISTRY, broken)
    assert first.findings == again.findings
    assert codes(first) == ["RF1103", "RF1102"]
    assert load(MESH, TRAINER, REGISTRY, PULL).findings == ()
