"""Hosts with a star: when a document may have one, which names it means, and who owns a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.externals import Dynamic, External
from ringfence.policy.model import Model, Origin
from ringfence.policy.wildcard import means, names_regex, owner, within
from tests.policy import intent
from tests.policy.intent import MESH, load, only

WILD = """
kind: External
metadata: {name: buckets, namespace: shared}
spec: {host: "*.s3.example", dynamic: {labels: one}, ports: [{name: https, port: 443, protocol: http}]}
"""
LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


def external(host: str, *, many: bool = False) -> External:
    """One that means *host*."""
    dynamic = Dynamic(many, private=False) if host.startswith("*") else None
    return External("shared", f"of-{len(host)}-{host[-9:]}", host, "", (), "", Origin("x.yaml", 1), dynamic)


def model_of(text: str) -> Model:
    """The model of a good document."""
    return intent.model_of(MESH, text)


def test_a_star_is_taken_where_it_is_asked_for():
    """One label and public addresses, unless the document says otherwise."""
    assert model_of(WILD).externals["shared/buckets"].dynamic == Dynamic(many=False, private=False)
    wide = model_of(WILD.replace("{labels: one}", "{labels: many, addresses: private}"))
    assert wide.externals["shared/buckets"].dynamic == Dynamic(many=True, private=True)
    assert wide.revision != model_of(WILD).revision


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("dynamic: {labels: one}, ", "", "RF1104"),
        ('"*.s3.example"', "s3.example", "RF1104"),
        ("{labels: one}", "{labels: two}", "RF1104"),
        ("{labels: one}", "{addresses: private}", "RF1103"),
        ("{labels: one}", "true", "RF1104"),
        ("{labels: one}", "{labels: one}, address: 10.0.0.1", "RF1104"),
        ("protocol: http", "protocol: tcp", "RF1104"),
        ("protocol: http", "protocol: postgres", "RF1104"),
        ("protocol: http", "protocol: tcp, tls: false", "RF1104"),
        ('"*.s3.example"', '"*"', "RF1105"),
        ('"*.s3.example"', '"*.example"', "RF1105"),
        ('"*.s3.example"', '"*.*.example"', "RF1105"),
        ('"*.s3.example"', '"a*.s3.example"', "RF1105"),
        ('"*.s3.example"', '"a.*.example"', "RF1105"),
        ('"*.s3.example"', '"*.S3.example"', "RF1105"),
        ('"*.s3.example"', '"*.s3.example."', "RF1105"),
        ('"*.s3.example"', '"*..s3.example"', "RF1105"),
        ('"*.s3.example"', '"*.0.1"', "RF1105"),
        ('"*.s3.example"', '"*.google.internal"', "RF1111"),
    ],
)
def test_a_star_that_is_not_clear_is_refused(old: str, new: str, code: str):
    """Without the word for it, with an address of one host, over a protocol that names no host, or too wide."""
    assert old in WILD
    assert only(load(MESH, WILD.replace(old, new))).code == code


def test_a_star_passes_tls_through():
    """The client's own TLS names the host."""
    assert model_of(WILD.replace("protocol: http", "protocol: tcp, tls: passthrough")).externals


RAW = """
kind: External
metadata: {name: raw, namespace: shared}
spec: {host: raw.example, ports: [{name: raw, port: 5432, protocol: postgres, tls: false}]}
"""


@pytest.mark.parametrize("field", ["healthCheck: {tcp: true}", "outlierDetection: {consecutiveErrors: 3}"])
@pytest.mark.parametrize(
    ("where", "refused"),
    [
        ("raw.example", True),
        ("raw.example, address: other.example", True),
        ("raw.example, address: 10.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost", False),
    ],
)
def test_what_needs_a_known_address_is_refused_where_connections_look_it_up(field: str, where: str, *, refused: bool):
    """DNS answers for each of them; where it does not, or requests are judged by the address, all of it is taken."""
    traffic = f"kind: Traffic\nmetadata: {{name: t, namespace: shared}}\nspec: {{to: {{external: raw}}, {field}}}\n"
    found = load(MESH, RAW.replace("raw.example", where), traffic).findings
    assert [finding.code for finding in found] == (["RF1210"] if refused else [])
    of_requests = RAW.replace("postgres", "http")
    assert not load(MESH, of_requests, traffic.replace("{tcp: true}", "{http: /up}")).findings


@pytest.mark.parametrize("field", ["healthCheck: {}", "outlierDetection: {consecutiveErrors: 3}", "balance: RANDOM"])
def test_what_needs_hosts_known_beforehand_is_refused_for_a_star(field: str):
    """There is no host to check before one is asked for."""
    traffic = f"kind: Traffic\nmetadata: {{name: t, namespace: shared}}\nspec: {{to: {{external: buckets}}, {field}}}\n"
    traffic = traffic.replace("healthCheck: {}", "healthCheck: {http: /up}").replace("RANDOM", "random")
    assert [finding.code for finding in load(MESH, WILD, traffic).findings] == ["RF1210"]


@given(st.lists(LABEL, min_size=1, max_size=4))
def test_a_star_means_whole_labels_below_its_name(labels: list[str]):
    """One of them, or any number; never the name itself, and never a name that only ends alike."""
    name = ".".join(labels)
    one, many = external("*.s3.example"), external("*.s3.example", many=True)
    assert means(one, f"{name}.s3.example") is (len(labels) == 1)
    assert means(many, f"{name}.s3.example")
    for host in (
        "s3.example",
        f"{name}s3.example",
        f"{name}.s3.example.",
        f"{name}.s3.example.x",
        f"{name}.s3xexample",
    ):
        assert not means(many, host)


@given(st.text(max_size=30))
def test_no_text_is_a_name_but_names(text: str):
    """Whatever stands in place of the star has the letters of a name, so that no URL or list of hosts is one."""
    if means(external("*.s3.example", many=True), f"{text}.s3.example"):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert all(label and not label.startswith("-") and not label.endswith("-") for label in text.split("."))


def test_a_name_belongs_to_the_longest_that_means_it():
    """Exact names before stars, long stars before short ones; the wide one knows whom it does not mean."""
    wide, inner = external("*.example.test", many=True), external("*.a.example.test")
    exact = external("x.a.example.test")
    known = [wide, inner, exact, external("other.test")]
    found = {host: owner(known, f"{host}.example.test") for host in ("x.a", "y.a", "y.z.a", "b")}
    assert found == {"x.a": exact, "y.a": inner, "y.z.a": wide, "b": wide}
    assert owner(known, "elsewhere.test") is None
    assert within(known, wide) == tuple(sorted((inner, exact), key=lambda each: each.key))
    assert within(known, external("*.example.test")) == ()
    assert within(known, exact) == ()


def test_an_exact_name_is_a_regex_of_itself():
    """Its dots are dots."""
    assert means(external("a.example.test"), "a.example.test")
    assert not means(external("a.example.test"), "aXexample.test".lower())
    assert names_regex(external("a.example.test")) == r"a\.example\.test"
