"""Delta streams: whatever happens, a client ends up with the snapshot."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.xds.streams import DeltaClient, changes, resource, snapshot, world
from tests.xds.test_sotw import CONTENTS, expected


class Convergence(RuleBasedStateMachine):
    """Snapshots change while responses wait, are read late, refused, or the stream breaks and is opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.client = DeltaClient(DeltaStream(), world({}))
        self.start()

    def start(self) -> None:
        """Open the stream as Envoy does."""
        self.client.stream.update(self.client.snapshot)
        self.client.start()

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
        """The stream breaks: what was under way is lost; what is held comes back as initial versions."""
        old = self.client
        self.client = DeltaClient(DeltaStream(), old.snapshot, old.holds, old.versions, old.wants)
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
    client = DeltaClient(DeltaStream(), world({}))
    client.start()
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


def test_removals_come_last_and_what_refers_goes_first() -> None:
    """No listener is left with a route, nor a route with a cluster, that is gone already."""
    client = DeltaClient(DeltaStream(), world({(CLUSTER, "old"): "1", (LISTENER, "old"): "1"}))
    client.start()
    client.drain()

    outs = client.stream.update(world({(CLUSTER, "new"): "1", (LISTENER, "new"): "1"}))

    assert [(o.type_url, sorted(changes(o)[0]), sorted(changes(o)[1])) for o in outs] == [
        (CLUSTER, ["new"], []),
        (LISTENER, ["new"], []),
        (LISTENER, [], ["old"]),
        (ROUTE, [], ["old"]),
        (EXTENSION_CONFIG, [], ["old"]),
        (CLUSTER, [], ["old"]),
        (ENDPOINT, [], ["old"]),
    ]


def test_a_client_of_everything_learns_that_there_is_nothing() -> None:
    """An empty first answer ends the wait of a proxy that would else start only after its fetch timeout."""
    (out,) = DeltaStream().receive(DeltaRequest(CLUSTER), snapshot())

    assert changes(out) == ({}, set())


def test_a_name_both_added_and_dropped_is_dropped() -> None:
    """The order within one request is that of the protocol: first the additions."""
    stream = DeltaStream()
    now = snapshot((ROUTE, resource(ROUTE, "r")))

    assert stream.receive(DeltaRequest(ROUTE, ("r",), ("r",)), now) == []
    assert stream.update(snapshot((ROUTE, resource(ROUTE, "r", "2")))) == []
