"""Whom a rule means, and what a workload may reach."""

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.model import Protocol
from ringfence.policy.scope import Upstream, breadth, matches, source_prefix, upstreams_of
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, model_of

DOMAIN = TrustDomain("example.test")


def test_a_source_is_an_identity_or_a_prefix_that_ends_in_a_slash():
    """A prefix never covers half a name, and never Ringfence's own identities."""
    trainer = SpiffeId(DOMAIN, "/ns/team-a/sa/trainer")
    sources = [Source(trainer, None), Source(None, "team-a"), Source(None, None)]
    assert [breadth(source) for source in sources] == [0, 1, 2]
    assert [matches(source, trainer, DOMAIN) for source in sources] == [True, True, True]
    assert source_prefix(sources[1], DOMAIN) == "spiffe://example.test/ns/team-a/"
    assert source_prefix(sources[2], DOMAIN) == "spiffe://example.test/ns/"
    for other in ("/ns/team-ab/sa/trainer", "/ns/team-a", "/ringfence/server"):
        assert not matches(sources[1], SpiffeId(DOMAIN, other), DOMAIN)
    assert not matches(sources[2], SpiffeId(DOMAIN, "/ringfence/server"), DOMAIN)


def test_upstreams_are_what_some_allow_names():
    """Allow rules open addresses, shadow and expired ones too, so that a denial is named; deny rules do not."""
    to_hub = PULL.replace("workload: registry", "external: hub").replace("port: http", "port: https")
    shadow = to_hub.replace("name: pull", "name: hub").replace(
        "owner", "mode: shadow\n  expires: 2020-01-01T00:00:00Z\n  owner"
    )
    model = model_of(MESH, TRAINER, REGISTRY, HUB, PULL, shadow)
    assert upstreams_of(model, model.workloads["team-a/trainer"]) == (
        Upstream("shared/hub", "https", Protocol.HTTP, external=True, env_name="RINGFENCE_UPSTREAM_HUB_HTTPS"),
        Upstream("shared/registry", "http", Protocol.HTTP, external=False, env_name="RINGFENCE_UPSTREAM_REGISTRY_HTTP"),
    )
    assert upstreams_of(model, model.workloads["shared/registry"]) == ()
    denied = model_of(MESH, TRAINER, REGISTRY, PULL.replace("Allow", "Deny"))
    assert upstreams_of(denied, denied.workloads["team-a/trainer"]) == ()


def test_a_workload_is_no_upstream_of_itself():
    """A rule for everyone does not send a workload through its own proxy."""
    model = model_of(MESH, TRAINER, REGISTRY, PULL.replace("workload: trainer", "all: true"))
    assert upstreams_of(model, model.workloads["shared/registry"]) == ()
    assert [upstream.name for upstream in upstreams_of(model, model.workloads["team-a/trainer"])] == [
        "registry.shared/http"
    ]


def test_environment_names_that_collide_name_the_namespace():
    """No upstream hides another: both get the longer name, and a number where that collides too."""

    def serving(namespace: str, name: str, port: str = "http") -> str:
        return (
            f"kind: Workload\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
            f"spec: {{match: [{{unix.user: u-{namespace}-{name}}}], "
            f"serves: [{{name: {port}, port: 80, protocol: tcp}}]}}\n"
        )

    things = [("b", "db"), ("c", "db"), ("c", "one"), ("d-e", "f"), ("d", "e-f"), ("g", "f")]
    to = ", ".join(f"{{workload: {name}, namespace: {namespace}}}" for namespace, name in things)
    head = "kind: Allow\nmetadata: {name: r, namespace: team-a}\n"
    allow = f"{head}spec: {{from: [{{workload: trainer}}], to: [{to}], owner: o, reason: r}}\n"
    model = model_of(MESH, TRAINER, *(serving(*thing) for thing in things), allow)
    names = {
        u.key: u.env_name.removeprefix("RINGFENCE_UPSTREAM_")
        for u in upstreams_of(model, model.workloads["team-a/trainer"])
    }
    assert names == {
        "b/db": "B_DB_HTTP",
        "c/db": "C_DB_HTTP",
        "c/one": "ONE_HTTP",
        "d/e-f": "E_F_HTTP",
        "d-e/f": "D_E_F_HTTP",
        "g/f": "G_F_HTTP",
    }
