"""Names below a star in rules: what Envoy is told and what the evaluator says are the same, for any rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import Effect, Model, named
from ringfence.xds import codec, connection_rbac, matcher
from ringfence.xds.dynamic import Wild
from ringfence.xds.egress import on_proxied
from ringfence.xds.predicates import Fields
from ringfence.xds.rbac import PortRules
from tests.policy.intent import MESH, NOW, TRAINER, model_of
from tests.policy.test_server_names import OWN, STAR
from tests.xds.trees import chain, verdict

NAMES = ("a.s3.example", "b.s3.example", "'*.s3.example'", "'*.eu.s3.example'", "x.eu.s3.example")
HOSTS = ("a.s3.example", "b.s3.example", "x.eu.s3.example", "y.eu.s3.example", "own.s3.example", "s3.example", "evil")
HTTP = ("", "http: [{methods: [GET]}]", "http: [{paths: ['/x/**']}]", "http: [{methods: [GET]}, {paths: [/y]}]")
ENDS: dict[Effect, Fields] = {
    Effect.DENY: matcher.act(named("none"), allow=True),
    Effect.ALLOW: matcher.act(named("default-deny"), allow=False),
}


def text(number: int, kind: str, names: list[str], http: str = "", *, port: str) -> str:
    """One rule of the trainer's, for that port."""
    asked = f"  serverNames: [{', '.join(names)}]\n" if names else ""
    return f"""
kind: {kind}
metadata: {{name: rule-{number}, namespace: team-a}}
spec:
  from: [{{workload: trainer}}]
  to: [{{external: buckets, namespace: shared, port: {port}}}]
{asked}  owner: ml
  reason: tests
  mode: {"shadow" if number > 3 else "enforce"}
""" + (f"  {http}\n" if http else "")


def models(port: str, https: tuple[str, ...] = ("",)) -> st.SearchStrategy[Model]:
    """Models of up to five rules, the last in shadow mode."""
    said = st.tuples(
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        st.sampled_from(https),
    )
    return st.lists(said, max_size=5).map(
        lambda some: model_of(
            MESH, TRAINER, STAR, OWN, *(text(i, *one, port=port) for i, one in enumerate(some)), now=NOW
        )
    )


def wild(model: Model, port: str) -> Wild:
    """The names of the star, as a proxy knows them."""
    external = model.externals["shared/buckets"]
    found = external.port(port)
    assert found is not None
    return Wild.of(external, found, model.externals.values(), default=False)


def expected(model: Model, port: str, host: str, method: str = "", path: str = "") -> tuple[str, bool]:
    """By the evaluator."""
    caller = model.workloads["team-a/trainer"].spiffe_id
    said = evaluate(model, Request(caller, "shared/buckets", port, NOW, method, path, server_name=host))
    return said.policy_id, said.allowed


@given(models("raw"), st.sampled_from(HOSTS))
def test_tls_that_passes_through_is_judged_by_the_name_that_it_asks_for(model: Model, host: str):
    """The filter's one matcher decides as the evaluator does, by the same policy id."""
    names = wild(model, "raw")
    rules = PortRules.of(model.mesh.trust_domain, model.rules)
    *_, judge = connection_rbac.constant_filters("raw", rules, names.connections, names.asked_by)
    said = codec.unpack(codec.encode(judge["typed_config"]))
    assert verdict(said.matcher, "", server_name=host) == expected(model, "raw", host)
    assert said.matcher == said.shadow_matcher, "network RBAC names its rule by the second alone"


@given(models("raw"), st.sampled_from(HOSTS))
def test_only_a_name_that_is_allowed_has_a_chain_that_looks_it_up(model: Model, host: str):
    """Whatever the rules are: else it could be used to tell the world something by a question to DNS."""
    rules = PortRules.of(model.mesh.trust_domain, model.rules)
    tree = matcher.as_matcher(wild(model, "raw").chains("raw", rules.deny, rules.allow))
    _, allowed = expected(model, "raw", host)
    assert chain(tree, host) == ("raw" if allowed else "raw/refused")


@given(models("https", HTTP), st.sampled_from(HOSTS), st.sampled_from(["GET", "POST"]), st.sampled_from(["/x/1", "/y"]))
def test_requests_below_a_star_are_judged_by_their_host_as_well(model: Model, host: str, method: str, path: str):
    """Beside methods and paths, at the loopback address and at the forward proxy, with the port that is declared."""
    names = wild(model, "https")
    for conditions in (matcher.on_requests, on_proxied):
        found = _judged(
            names, PortRules.of(model.mesh.trust_domain, model.rules), conditions, f"{host}:443", method, path
        )
        assert found == expected(model, "https", host, method, path)


@given(models("https", HTTP), st.sampled_from(HOSTS))
def test_a_tunnel_is_opened_to_no_more_than_every_request_may_reach(model: Model, host: str):
    """Nobody sees into it: where a tunnel is let through, so is any request to that name."""
    rules = PortRules.of(model.mesh.trust_domain, model.rules)
    _, open_to = _judged(wild(model, "https"), rules, on_proxied, f"{host}:443", "CONNECT", "")
    if open_to:
        assert all(expected(model, "https", host, *call)[1] for call in (("GET", "/x/1"), ("POST", "/z")))


@given(models("https"), st.sampled_from(HOSTS))
def test_another_port_is_nobodys(model: Model, host: str):
    """A host is asked for with the number that is declared, whichever names a rule asks for."""
    rules = PortRules.of(model.mesh.trust_domain, model.rules)
    names = wild(model, "https")
    assert _judged(names, rules, matcher.on_requests, f"{host}:444", "GET", "/") == ("default-deny@builtin", False)


def _judged(
    names: Wild, rules: PortRules, conditions: matcher.Conditions, authority: str, method: str, path: str
) -> tuple[str, bool]:
    headers = {":authority": authority, ":method": method} | ({":path": path} if path else {})
    for some, effect in ((rules.deny, Effect.DENY), (rules.allow, Effect.ALLOW)):
        tree = matcher.as_matcher(names.tree(some, conditions, ENDS[effect]))
        found = verdict(tree, "", headers)
        assert found is not None, "no tree ends without a name"
        if found[0] != named("none"):
            return found
    raise AssertionError
