"""SotW streams: whatever happens, a client ends up with the snapshot."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringfence.xds.discovery import SotwRequest
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.xds.streams import NAMES, SotwClient, named, resource, snapshot, world

CONTENTS = st.dictionaries(
    st.tuples(st.sampled_from([CLUSTER, LISTENER, ENDPOINT, ROUTE, EXTENSION_CONFIG]), st.sampled_from(NAMES)),
    st.sampled_from(["1", "2", "3"]),
)


def expected(target: Snapshot) -> dict[str, dict[str, str]]:
    """What a client of *target* holds in the end: all clusters and listeners, and what these need."""
    read = {
        url: {name: r.any.rpartition(b"=")[2].decode() for name, r in target.named(url).items()}
        for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG)
    }
    for url, asked in ((ENDPOINT, CLUSTER), (ROUTE, LISTENER), (EXTENSION_CONFIG, LISTENER)):
        read[url] = {name: content for name, content in read[url].items() if name in read[asked]}
    return read


class Convergence(RuleBasedStateMachine):
    """Snapshots change while responses wait, are read late, refused, or the stream breaks and is opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.client = SotwClient(SotwStream(), world({}))
        self.start()

    def start(self) -> None:
        """Open the stream as Envoy does."""
        self.client.stream.update(self.client.snapshot)
        self.client.ask(CLUSTER)
        self.client.ask(LISTENER)
        for url in (ENDPOINT, ROUTE, EXTENSION_CONFIG):
            if self.client.wants.get(url):
                self.client.ask(url, self.client.wants[url])

    @rule(contents=CONTENTS)
    def change(self, contents: dict[tuple[str, str], str]) -> None:
        """A new snapshot."""
        self.client.push(world(contents))

    @rule()
    def read(self) -> None:
        """The client reads one response."""
        if self.client.inbox:
            self.client.read_one()

    @rule(content=st.sampled_from(["1", "2", "3"]))
    def refuse(self, content: str) -> None:
        """The client refuses what has this content, from now on until it forgets."""
        self.client.refuses = {content}
        self.refused = True

    @rule()
    def reconnect(self) -> None:
        """The stream breaks: what was under way is lost, and nonces with it; names and versions are kept."""
        old = self.client
        self.client = SotwClient(SotwStream(), old.snapshot, old.holds, dict(old.wants), {}, dict(old.version))
        self.start()

    @precondition(lambda self: not self.client.inbox)
    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """A client that rests is left in peace when the same snapshot comes again."""
        assert self.client.stream.update(self.client.snapshot) == []

    def teardown(self) -> None:
        """In the end the client takes everything, and holds the snapshot."""
        self.client.drain()
        if self.refused:  # What was refused is not sent again, so only then a new stream is needed.
            self.client.refuses = set()
            self.reconnect()
            self.client.drain()
        held = {url: self.client.holds.get(url, {}) for url in expected(self.client.snapshot)}
        assert held == expected(self.client.snapshot)
        assert not self.client.stream.nacks


Convergence.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestConvergence = Convergence.TestCase


def test_a_client_that_stays_connected_converges_without_a_reconnect() -> None:
    """Clusters, endpoints, listeners, routes and filters appear, change and vanish on one stream."""
    client = SotwClient(SotwStream(), world({}))
    client.ask(CLUSTER)
    client.ask(LISTENER)
    for contents in (
        {(CLUSTER, "a"): "1", (LISTENER, "a"): "1"},
        {(CLUSTER, "a"): "2", (CLUSTER, "b"): "1", (LISTENER, "a"): "1", (EXTENSION_CONFIG, "a"): "2"},
        {(CLUSTER, "b"): "1", (LISTENER, "b"): "1"},
        {},
    ):
        client.push(world(contents))
        client.drain()

        assert {u: client.holds.get(u, {}) for u in expected(client.snapshot)} == expected(client.snapshot)
        assert client.stream.holds(client.snapshot)


def test_what_replaces_a_cluster_is_pushed_before_the_cluster_goes() -> None:
    """Make before break: the old cluster stays in the first response and is missing in the last one only."""
    client = SotwClient(SotwStream(), world({(CLUSTER, "old"): "1", (LISTENER, "l"): "1"}))
    client.ask(CLUSTER)
    client.ask(LISTENER)
    client.drain()

    outs = client.stream.update(world({(CLUSTER, "new"): "1", (LISTENER, "l"): "2"}))

    assert [out.type_url for out in outs] == [CLUSTER, LISTENER, ROUTE, EXTENSION_CONFIG, CLUSTER]
    assert set(named(outs[0])) == {"old", "new"}
    assert set(named(outs[-1])) == {"new"}


def test_a_refusal_ends_when_what_was_refused_is_gone() -> None:
    """Nothing is left to be refused: the proxy is in step again."""
    stream = SotwStream()
    bad = snapshot((LISTENER, resource(LISTENER, "l", "bad")))
    (out,) = stream.receive(SotwRequest(LISTENER), bad)
    (out,) = stream.receive(SotwRequest(LISTENER, (), out.nonce, "", "bad"), bad)
    stream.receive(SotwRequest(LISTENER, (), out.nonce, out.version), bad)

    (out,) = stream.update(snapshot())

    assert named(out) == {}
    assert not stream.nacks
    assert not stream.holds(snapshot()), "the news of it is on its way"
    stream.receive(SotwRequest(LISTENER, (), out.nonce, out.version), snapshot())
    assert stream.holds(snapshot())


def test_streams_with_different_histories_send_equal_bytes_for_an_equal_change() -> None:
    """Nonces count from the driver's epoch, so the one frame can be shared by all streams."""
    first = snapshot((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "e", "1")))
    second = snapshot((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "e", "2")))
    old, new = SotwStream(), SotwStream()
    old.update(first, 1)
    for content in ("x", "y"):
        old.receive(SotwRequest(EXTENSION_CONFIG, ("e", content)), first)
    new.update(first, 7)
    new.receive(SotwRequest(EXTENSION_CONFIG, ("e",)), first)

    assert [o.payload for o in old.update(second, 8)] == [o.payload for o in new.update(second, 8)]


def test_a_client_that_never_answers_costs_a_bounded_memory() -> None:
    """Only so many responses without a verdict are remembered, whether what they hold changed, is gone, or is all."""
    changing, vanishing, whole = SotwStream(), SotwStream(), SotwStream()
    names = tuple(map(str, range(200)))
    for stream in (changing, vanishing):
        stream.receive(SotwRequest(EXTENSION_CONFIG, names), snapshot())
    whole.receive(SotwRequest(LISTENER), snapshot())
    for name in names:
        changing.update(snapshot((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "0", name))))
        vanishing.update(snapshot((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, name))))
        vanishing.receive(SotwRequest(EXTENSION_CONFIG, names[int(name) :]), snapshot())
        whole.update(snapshot(*((LISTENER, resource(LISTENER, one, name)) for one in names)))

    for stream, url in ((changing, EXTENSION_CONFIG), (vanishing, EXTENSION_CONFIG), (whole, LISTENER)):
        assert len(stream._types[url].unanswered) <= 66


def test_no_verdict_on_what_is_held_is_lost_however_many_are_under_way() -> None:
    """Hundreds of policies, some of them sent again and again meanwhile: the refusal of the first still counts."""
    names = tuple(map(str, range(300)))
    policies = [(EXTENSION_CONFIG, resource(EXTENSION_CONFIG, name)) for name in names]
    stream, now = SotwStream(), snapshot(*policies)
    outs = stream.receive(SotwRequest(EXTENSION_CONFIG, names), now)
    for content in range(400):
        now = snapshot(*policies[:-1], (EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "299", str(content))))
        outs += stream.update(now)
    for out in outs:
        error = "no" if "0" in named(out) else None
        stream.receive(SotwRequest(EXTENSION_CONFIG, names, out.nonce, "" if error else out.version, error), now)

    assert stream.nacks[EXTENSION_CONFIG].names == {"0"}
    assert not stream.waits
    assert [one.name for _, one, said in stream.told() if said == "accepted"] == sorted(names[1:])


def test_all_policies_of_a_snapshot_are_of_its_version_and_it_is_held_with_the_last() -> None:
    """Their responses are answered one after the other."""
    stream, names = SotwStream(), ("a", "b", "c")
    now = snapshot(*((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, name)) for name in names))
    outs = stream.receive(SotwRequest(EXTENSION_CONFIG, names), now)
    assert [(named(out), out.version) for out in outs] == [
        ({name: "1"}, now.type_version(EXTENSION_CONFIG)) for name in names
    ]
    for out in outs:
        assert not stream.holds(now)
        assert stream.receive(SotwRequest(EXTENSION_CONFIG, names, out.nonce, out.version), now) == []
    assert stream.holds(now)
    assert stream.acked[EXTENSION_CONFIG] == now.type_version(EXTENSION_CONFIG)
