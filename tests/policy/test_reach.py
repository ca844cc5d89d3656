"""Who reaches whom by every way: the proxies' part agrees with the evaluator, the rest says what is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import RevokedCaller, Source
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.headers import HeaderMatch, Headers
from ringfence.policy.model import Destination, Effect, HttpMatch, Mode, Model, Origin, Rule
from ringfence.policy.paths import PathPattern
from ringfence.policy.reach import Asked, Reach, reach
from ringfence.policy.reach_nic import Walls
from ringfence.policy.reach_proxy import decided
from ringfence.policy.way import Leg, Reached, Way
from tests.policy.intent import FABRIC, GRANT, HUB, MESH, NOTEBOOK, NOW, PULL, REGISTRY, TRAINER, model_of
from tests.policy.plain import PROBE, taking

WORKER = TRAINER.replace("trainer", "worker").replace("1001", "1007").replace("}\n", "}\n", 1)
WORKER = WORKER.replace("match:", "serves: [{name: c10d, port: 29500, protocol: tcp}], match:")
BOTH = GRANT.replace("[{workload: trainer}]", "[{workload: trainer}, {workload: worker}]")
PAIR = (MESH, TRAINER, WORKER, NOTEBOOK)
SHARED = FABRIC.replace("tenants: [team-a]", "tenants: [team-a, team-b]")
THEIRS = GRANT.replace("team-a", "team-b").replace("trainer", "notebook")


def asked(*documents: str, to: str = "shared/registry", port: str = "http", **more: Walls) -> Reach:
    """What the trainer reaches."""
    return reach(model_of(*documents), Asked("team-a/trainer", to, port, **more), NOW)


def legs(told: Reach, way: Way) -> list[Leg]:
    """Those of one way."""
    return [leg for leg in told.legs if leg.way is way]


def on_fabric(*documents: str, to: str = "team-a/worker", port: str = "") -> list[tuple[str, Reached]]:
    """What crosses the fabric, and whether it may."""
    told = asked(*PAIR, *documents, to=to, port=port)
    return [(leg.target.split(" ", 1)[1], leg.verdict) for leg in legs(told, Way.FABRIC)]


def test_a_rule_for_some_requests_is_some_and_says_which():
    """With the place where it is written, and the proxy that judges."""
    (leg,) = legs(asked(MESH, TRAINER, REGISTRY, PULL), Way.PROXY)
    assert (leg.verdict, leg.enforced_by) == (
        Reached.SOME,
        "mutual TLS and RBAC in the proxy of shared/registry, each request",
    )
    (line,) = leg.lines
    assert (line.document, line.says) == ("Allow team-a/pull", "GET,HEAD /models/team-a/**")
    assert line.origin.path == "intent.yaml"


def test_what_no_rule_lets_in_is_denied_by_name():
    """And the whole is an answer of no."""
    told = asked(MESH, TRAINER, REGISTRY, PULL, port="db")
    (leg,) = legs(told, Way.PROXY)
    assert (leg.verdict, leg.because, leg.lines) == (Reached.DENY, "default-deny decides", ())
    assert not told.allowed
    assert asked(MESH, TRAINER, REGISTRY, PULL).allowed


def test_a_deny_that_asks_for_nothing_shuts_and_one_that_does_leaves_some():
    """A shadow rule is told, and decides nothing."""
    wide = PULL.replace('  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]\n', "")
    deny = wide.replace("kind: Allow", "kind: Deny").replace("name: pull", "name: stop")
    (shut,) = legs(asked(MESH, TRAINER, REGISTRY, wide, deny), Way.PROXY)
    assert (shut.verdict, shut.because) == (Reached.DENY, "team-a/stop decides")
    narrow = deny.replace("  owner", "  http: [{methods: [PUT]}]\n  owner")
    assert [leg.verdict for leg in legs(asked(MESH, TRAINER, REGISTRY, wide, narrow), Way.PROXY)] == [Reached.SOME]
    shadow = deny.replace("  owner", "  mode: shadow\n  owner")
    (open_,) = legs(asked(MESH, TRAINER, REGISTRY, wide, shadow), Way.PROXY)
    assert open_.verdict is Reached.ALLOW
    assert [line.says for line in open_.lines] == ["", "decides nothing, it is in shadow mode"]


def test_a_port_that_takes_plaintext_has_a_second_way_in():
    """Without an identity, by the rules for such callers."""
    told = legs(asked(MESH, TRAINER, taking(), PULL, PROBE), Way.PROXY)
    assert [(leg.target, leg.verdict) for leg in told] == [
        ("shared/registry http", Reached.SOME),
        ("shared/registry http without an identity", Reached.SOME),
    ]
    assert "nobody proves who calls" in told[1].enforced_by


def test_an_undeclared_port_has_no_proxy_and_an_external_has_the_callers():
    """A number that nobody serves is asked for all the same: something may listen there."""
    told = asked(MESH, TRAINER, REGISTRY, PULL, port="9999")
    assert [(leg.way, leg.verdict) for leg in told.legs] == [
        (Way.PROXY, Reached.DENY),
        (Way.NIC, Reached.UNKNOWN),
    ]
    out = PULL.replace("workload: registry, namespace: shared, port: http", "external: hub, namespace: shared")
    (leg,) = legs(asked(MESH, TRAINER, REGISTRY, HUB, out, to="shared/hub", port="https"), Way.PROXY)
    assert leg.enforced_by == "RBAC in the proxy of team-a/trainer, which is its way out"


def test_a_port_is_named_or_numbered():
    """All of them where none is."""
    targets = [leg.target for leg in legs(asked(MESH, TRAINER, REGISTRY, PULL, port=""), Way.PROXY)]
    assert targets == ["shared/registry http", "shared/registry db"]
    assert asked(MESH, TRAINER, REGISTRY, PULL, port="8080") == asked(MESH, TRAINER, REGISTRY, PULL)
    for wrong in ("htp", "0", "65536", "-1", "٣"):
        with pytest.raises(RingfenceError, match="has no port"):
            asked(MESH, TRAINER, REGISTRY, PULL, port=wrong)
    with pytest.raises(RingfenceError, match="declares the workload 'shared/registri'"):
        asked(MESH, TRAINER, REGISTRY, PULL, to="shared/registri")


def test_past_the_proxies_nothing_is_known_but_the_walls_that_are_told_of():
    """A Unix socket is a wall by itself; intent is none."""
    documents = (MESH, TRAINER, REGISTRY, PULL)
    (leg,) = legs(asked(*documents), Way.NIC)
    assert (leg.verdict, leg.enforced_by) == (Reached.UNKNOWN, "nothing that is known of")
    for walls in Walls:
        (leg,) = legs(asked(*documents, called_walls=walls), Way.NIC)
        assert (leg.verdict, f"--{walls.value}" in leg.enforced_by) == (Reached.DENY, True)
        (leg,) = legs(asked(*documents, caller_walls=walls), Way.NIC)
        assert leg.verdict is Reached.DENY
    (leg,) = legs(asked(*documents, port="db"), Way.NIC)
    assert (leg.verdict, "0700" in leg.enforced_by) == (Reached.DENY, True)
    (leg,) = legs(asked(*documents, HUB, to="shared/hub", port="", called_walls=Walls.CAPTURE), Way.NIC)
    assert leg.verdict is Reached.UNKNOWN  # a host outside is not behind our walls


def test_one_job_shares_the_fabric_and_its_ports_alone():
    """The store's port is none of them, whatever the job."""
    assert on_fabric(FABRIC, BOTH) == [("data (infiniband)", Reached.ALLOW), ("tcp 50000-51000", Reached.ALLOW)]
    assert on_fabric(FABRIC, BOTH, port="29500")[1] == ("tcp 29500", Reached.DENY)
    assert on_fabric(FABRIC, BOTH, port="c10d")[1] == ("tcp 29500", Reached.DENY)
    assert on_fabric(FABRIC, BOTH, port="50001")[1] == ("tcp 50001", Reached.ALLOW)
    (data, sockets) = legs(asked(*PAIR, FABRIC, BOTH, to="team-a/worker", port=""), Way.FABRIC)
    assert data.enforced_by == "pkey 0x0012: subnet manager, switches and adapters"
    assert "the packet filter of each node" in sockets.enforced_by
    assert [line.document for line in data.lines] == ["Fabric platform/rail", "FabricGrant team-a/llm"]
    assert data.lines[1].says == "both, job team-a/llm-7b, until 2027-01-31T00:00:00+00:00"


def test_without_a_common_grant_in_force_there_is_no_way():
    """Nobody's, one side's, or one that has ended."""
    shut = [("data (infiniband)", Reached.DENY), ("tcp 50000-51000", Reached.DENY)]
    assert on_fabric(FABRIC) == shut
    assert on_fabric(FABRIC, GRANT) == shut
    assert on_fabric(FABRIC, BOTH.replace("2027-01-31T00:00:00Z", NOW.isoformat())) == shut


def test_two_jobs_of_one_partition_are_kept_apart_for_sockets_and_by_nothing_for_verbs():
    """A partition tells members from strangers, and not jobs from each other; a channel for each job does."""
    assert on_fabric(SHARED, GRANT, THEIRS, to="team-b/notebook") == [
        ("data (infiniband)", Reached.UNKNOWN),
        ("tcp 50000-51000", Reached.DENY),
    ]
    tcp = (
        SHARED.replace("infiniband", "tcp")
        .replace("pkey: 0x0012", "vlan: 5")
        .replace("enforcedBy: pkey", "enforcedBy: host-firewall")
    )
    assert on_fabric(tcp, GRANT, THEIRS, to="team-b/notebook") == [("tcp 50000-51000", Reached.DENY)]
    nvlink = (
        SHARED.replace("infiniband", "nvlink")
        .replace("  cidrs: [192.168.50.0/24]\n  mtu: 4092\n", "")
        .replace("  ports: [50000-51000]\n", "")
        .replace("  partition: {pkey: 0x0012}\n", "")
        .replace('  interfaces: ["ib*", "0000:17:00.0"]\n', "")
        .replace("enforcedBy: pkey", "enforcedBy: imex")
    )
    assert on_fabric(nvlink, GRANT, THEIRS, to="team-b/notebook") == [("data (nvlink)", Reached.DENY)]


def test_what_nothing_enforces_is_unknown():
    """No grant is needed to be on such a wire."""
    nobody = FABRIC.replace("enforcedBy: pkey", "enforcedBy: nothing")
    assert on_fabric(nobody) == [("data (infiniband)", Reached.UNKNOWN), ("tcp 50000-51000", Reached.UNKNOWN)]
    assert on_fabric(nobody, BOTH)[0] == ("data (infiniband)", Reached.ALLOW)


def test_other_planes_are_for_rules():
    """Storage has no grants."""
    assert on_fabric(FABRIC.replace("  mtu", "  plane: storage\n  mtu")) == []


def test_whoever_is_revoked_reaches_nothing():
    """Through no proxy and on no fabric."""
    model = model_of(*PAIR, REGISTRY, PULL, FABRIC, BOTH)
    name = "spiffe://example.test/ns/team-a/sa/trainer"
    model = replace(model, revoked={name: RevokedCaller(whole=True, serials=frozenset(), newest=0)})
    told = reach(model, Asked("team-a/trainer", "shared/registry", "http"), NOW)
    assert (told.legs[0].verdict, told.legs[0].because) == (Reached.DENY, "revoked decides")
    told = reach(model, Asked("team-a/trainer", "team-a/worker"), NOW)
    assert {leg.verdict for leg in legs(told, Way.FABRIC)} == {Reached.DENY}


def test_the_ranks_of_a_job_reach_each_other_as_one_workload() -> None:
    """By a rule and a grant for their workload, all of them alike."""
    ranks = WORKER.replace("role: training", "job: llm").replace(
        "match: [{unix.uid: 1007}]", "launch: {by: [{unix.uid: 1007}]}"
    )
    join = PULL.replace("trainer", "worker").replace(
        "workload: registry, namespace: shared, port: http", "workload: worker"
    )
    join = join.replace('  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]\n', "")
    model = model_of(MESH, ranks, join, FABRIC, GRANT.replace("trainer", "worker"))
    told = reach(model, Asked("team-a/worker", "team-a/worker"), NOW)
    assert {leg.verdict for leg in told.legs if leg.way is not Way.NIC} == {Reached.ALLOW}
    alone = reach(replace(model, rules=(), fabric_grants={}), Asked("team-a/worker", "team-a/worker"), NOW)
    assert not alone.allowed


BASE = model_of(MESH, TRAINER, NOTEBOOK, taking())
IDS = [workload.identity for workload in BASE.workloads.values()]
CIDRS = st.sampled_from([(), (), ("10.0.0.0/8",), ("192.0.2.0/24",)])
SOURCES = st.builds(
    lambda who, cidrs: replace(who, cidrs=cidrs),
    st.sampled_from([*(Source(one, None) for one in IDS), Source(None, "team-a"), Source(None, None)]),
    CIDRS,
)
MATCHES = st.builds(
    HttpMatch,
    st.frozensets(st.sampled_from(["GET", "PUT"]), max_size=2),
    st.lists(st.sampled_from([PathPattern(p) for p in ("/**", "/m", "/m/*", "/m/**")]), max_size=2).map(tuple),
    st.sampled_from([(), (HeaderMatch("x-a"),), (HeaderMatch("x-a", exact="1"),)]),
)
ENDS = st.sampled_from([None, None, NOW - timedelta(days=1), NOW + timedelta(days=1)])


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Rules of every kind for the registry's two ports."""
    rules = []
    for number in range(draw(st.integers(0, 5))):
        port = draw(st.sampled_from(["http", "db"]))
        rules.append(
            Rule(
                "a",
                f"r{number}",
                draw(st.sampled_from(Effect)),
                draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW])),
                tuple(draw(st.lists(SOURCES, max_size=2))),
                (Destination("shared/registry", port),),
                tuple(draw(st.lists(MATCHES, max_size=2))) if port == "http" else (),
                "o",
                "r",
                draw(ENDS),
                "0" * 12,
                Origin("f", number + 1),
                plaintext=draw(st.sampled_from([None, None, (), ("10.0.0.0/8",)])),
            )
        )
    return replace(BASE, rules=tuple(rules))


@given(
    models(),
    st.sampled_from([*IDS, None]),
    st.sampled_from(["http", "db"]),
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "PUT", "X"]),
            st.sampled_from(["/", "/m", "/m/a", "/m/a/b", "/m?q", "/n"]),
            st.sampled_from([(), (("x-a", "1"),), (("x-a", "2"),)]),
            st.sampled_from(["", "10.1.1.1", "192.0.2.1", "203.0.113.1"]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_evaluator_agrees_on_every_request(
    model: Model, source: SpiffeId | None, port: str, calls: list[tuple[str, str, Headers, str]]
):
    """What is denied lets no request pass, and what is allowed refuses none; only some of `some` do."""
    bare = Request(source, "shared/registry", port, NOW, plaintext=source is None)
    verdict, _ = decided(model, bare)
    passed = {
        evaluate(model, replace(bare, method=method, path=path, headers=headers, address=address)).allowed
        for method, path, headers, address in calls
    }
    assert verdict is Reached.SOME or passed == {verdict is Reached.ALLOW}
