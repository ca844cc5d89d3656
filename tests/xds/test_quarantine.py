"""What a client refuses is kept back, and nothing else is: whatever it refuses, whether or not it says which it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest, SotwRequest
from ringfence.xds.quarantine import Quarantine, named_in
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.xds.streams import NAMES, DeltaClient, SotwClient, changes, named, resource, snapshot, world

TYPES = (CLUSTER, LISTENER, ENDPOINT, ROUTE, EXTENSION_CONFIG)
CONTENTS = st.dictionaries(
    st.tuples(st.sampled_from(TYPES), st.sampled_from(NAMES)), st.sampled_from(["1", "2", "bad"])
)


def sotw() -> SotwClient:
    """A client that has asked for everything that there is."""
    client = SotwClient(SotwStream(), world({}), refuses={"bad"})
    client.ask(CLUSTER)
    client.ask(LISTENER)
    return client


def delta() -> DeltaClient:
    """The same in the other variant."""
    client = DeltaClient(DeltaStream(), world({}), refuses={"bad"})
    client.start()
    return client


@pytest.mark.parametrize("blames", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("make", [sotw, delta])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(CONTENTS, min_size=1, max_size=6))
@example(steps=[{(LISTENER, "a"): "1", (LISTENER, "b"): "1"}, {(ROUTE, "a"): "bad", (ROUTE, "b"): "1"}])
def test_all_that_is_good_arrives_and_what_was_good_stays(make: Any, blames: bool, steps: list[Any]) -> None:  # noqa: FBT001
    """The streams come to rest; nothing refused is held, and nothing that is good is missing because of it.

    Only of a whole state in which the client names nobody is all that is new kept back: no part can be sent alone.
    """
    client = make()
    client.blames = blames
    for contents in steps:
        before = {url: dict(client.holds.get(url, {})) for url in TYPES}
        client.push(world(contents))
        client.drain()
        assert client.stream.update(client.snapshot) == [], "it is left in peace"
        for url in TYPES:
            held = client.holds.get(url, {})
            newest = {name: r.any.rpartition(b"=")[2].decode() for name, r in client.snapshot.named(url).items()}
            asked = newest.keys() if url in {CLUSTER, LISTENER} else set(client.wants.get(url, ())) & newest.keys()
            assert "bad" not in held.values()
            assert held.keys() <= newest.keys()
            for name in asked:
                is_certain = blames or isinstance(client, DeltaClient) or url not in {CLUSTER, LISTENER}
                if newest[name] != "bad" and is_certain:
                    assert held.get(name) == newest[name]
                elif url in {CLUSTER, LISTENER} and name in before[url]:
                    assert name in held, "what it had accepted is not taken away"
        refused = any(
            r.any.endswith(b"=bad") for url in (CLUSTER, LISTENER) for r in client.snapshot.named(url).values()
        )
        assert bool(client.stream.nacks) >= refused
    client.push(world({}))
    client.drain()
    assert not client.stream.nacks
    assert client.stream.holds(client.snapshot)


def two(a: str, b: str = "1", url: str = EXTENSION_CONFIG) -> Snapshot:
    """Two policies, or others, of which one may be bad."""
    return snapshot(*((url, resource(url, name, content)) for name, content in (("a", a), ("b", b))))


def test_the_last_good_one_stays_and_its_neighbour_comes_at_once() -> None:
    """State of the world: only the neighbour is sent again; the mended one is tried when it comes."""
    stream, names = SotwStream(), ("a", "b")
    good = two("good", url=ROUTE)
    (out,) = stream.receive(SotwRequest(ROUTE, names), good)
    stream.receive(SotwRequest(ROUTE, names, out.nonce, out.version), good)
    bad = two("bad", "2", ROUTE)
    (out,) = stream.update(bad)
    (again,) = stream.receive(SotwRequest(ROUTE, names, out.nonce, "", "cannot use a: bad"), bad)
    assert named(again) == {"b": "2"}
    assert stream.receive(SotwRequest(ROUTE, names, again.nonce, again.version), bad) == []
    assert stream.nacks[ROUTE].names == {"a"}
    assert not stream.holds(bad)
    told = {one.name: (one.version, said) for _, one, said in stream.told() if said != "refused"}
    assert told["a"][1] == "accepted"
    assert [one.name for _, one, said in stream.told() if said == "refused"] == ["a"]

    mended = two("mended", "2", ROUTE)
    (out,) = stream.update(mended)
    assert named(out) == {"a": "mended"}
    stream.receive(SotwRequest(ROUTE, names, out.nonce, out.version), mended)
    assert stream.holds(mended)


def test_a_whole_state_has_the_last_good_one_in_it() -> None:
    """What is missing in it would be deleted; its version says that it is not what the intent means."""
    stream = SotwStream()
    good = snapshot((LISTENER, resource(LISTENER, "l", "good")))
    (out,) = stream.receive(SotwRequest(LISTENER), good)
    stream.receive(SotwRequest(LISTENER, (), out.nonce, out.version), good)
    bad = snapshot((LISTENER, resource(LISTENER, "l", "bad")), (LISTENER, resource(LISTENER, "m")))
    (out,) = stream.update(bad)
    (again,) = stream.receive(SotwRequest(LISTENER, (), out.nonce, "", "adding/updating listener(s) l: bad"), bad)
    assert named(again) == {"l": "good", "m": "1"}
    assert again.version != out.version


def test_of_a_refusal_that_names_nobody_each_is_tried_alone() -> None:
    """Incremental: the second round finds the culprit, and there is no third."""
    stream = DeltaStream()
    bad = two("bad", "2", ROUTE)
    (out,) = stream.receive(DeltaRequest(ROUTE, ("a", "b")), bad)
    one, other = stream.receive(DeltaRequest(ROUTE, nonce=out.nonce, error="no"), bad)
    assert [changes(each)[0] for each in (one, other)] == [{"a": "bad"}, {"b": "2"}]
    assert stream.receive(DeltaRequest(ROUTE, nonce=one.nonce, error="no"), bad) == []
    assert stream.receive(DeltaRequest(ROUTE, nonce=other.nonce), bad) == []
    assert stream.nacks[ROUTE].names == {"a"}


def test_a_refused_policy_is_alone_in_its_response_and_is_not_sent_again() -> None:
    """State of the world: Envoy would accept the same bytes the second time, and not use them."""
    stream, names, bad = SotwStream(), ("a", "b"), two("bad", "2")
    one, other = stream.receive(SotwRequest(EXTENSION_CONFIG, names), bad)
    assert [named(each) for each in (one, other)] == [{"a": "bad"}, {"b": "2"}]
    assert stream.receive(SotwRequest(EXTENSION_CONFIG, names, one.nonce, "", "no"), bad) == []
    assert stream.receive(SotwRequest(EXTENSION_CONFIG, names, other.nonce, other.version), bad) == []
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
    assert not stream.holds(bad)
    assert stream.update(bad) == []


def test_a_refused_policy_is_alone_in_delta_too() -> None:
    """And so is what is pushed later; what is gone is said once, after all of them."""
    stream, bad = DeltaStream(), two("bad", "2")
    one, other = stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b", "missing")), bad)
    assert [changes(each) for each in (one, other)] == [({"a": "bad"}, set()), ({"b": "2"}, {"missing"})]
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=one.nonce, error="no"), bad) == []
    assert not stream.holds(bad)
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=other.nonce), bad) == []
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
    assert not stream.holds(bad)
    mended = two("mended", "3")
    assert [changes(out) for out in stream.update(mended)] == [({"a": "mended"}, set()), ({"b": "3"}, set())]


@pytest.mark.parametrize("brought", [True, False])
def test_after_a_refused_policy_the_one_that_it_had_is_sent_again(brought: bool) -> None:  # noqa: FBT001
    """Envoy remembers as its newest what it refused, and would accept that on its next stream without using it."""
    stream, good, bad = DeltaStream(), two("good"), two("bad")
    initial = {name: one.version for name, one in good.named(EXTENSION_CONFIG).items()} if brought else {}
    for out in stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b"), initial=initial), good):
        stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce), good)
    (out,) = stream.update(bad)
    (back,) = stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce, error="no"), bad)
    assert changes(back) == ({"a": "good"}, set())
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=back.nonce), bad) == []
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
    assert stream.update(bad) == []


def test_the_one_that_it_had_is_sent_once_even_if_it_is_refused_too() -> None:
    """State of the world; there is no loop."""
    stream, names, good, bad = SotwStream(), ("a", "b"), two("good"), two("bad")
    for out in stream.receive(SotwRequest(EXTENSION_CONFIG, names), good):
        stream.receive(SotwRequest(EXTENSION_CONFIG, names, out.nonce, out.version), good)
    (out,) = stream.update(bad)
    (back,) = stream.receive(SotwRequest(EXTENSION_CONFIG, names, out.nonce, "", "no"), bad)
    assert named(back) == {"a": "good"}
    assert stream.receive(SotwRequest(EXTENSION_CONFIG, names, back.nonce, "", "no"), bad) == []
    assert stream.update(bad) == []
    assert not stream.holds(bad)


def test_a_policy_that_it_brought_and_nobody_knows_is_not_sent_again() -> None:
    """There are no bytes to send: it stays as it is."""
    stream, bad = DeltaStream(), two("bad")
    outs = stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b"), initial={"a": "older"}), bad)
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=outs[0].nonce, error="no"), bad) == []
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=outs[1].nonce), bad) == []
    assert stream.update(bad) == []
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}


@pytest.mark.parametrize("accepted", [True, False], ids=["had", "new"])
def test_a_refused_policy_that_was_under_way_again_is_not_accepted_the_second_time(accepted: bool) -> None:  # noqa: FBT001
    """Envoy says so, but goes on with what it had, which is sent again: the same bytes are no news to it."""
    stream, good, bad = DeltaStream(), two("good"), two("bad")
    if accepted:
        for out in stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b")), good):
            stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce), good)
        (one,) = stream.update(bad)
    else:
        one, _ = stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b")), bad)
    (again,) = stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a",)), bad)
    back = stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=one.nonce, error="no"), bad)
    assert [changes(out)[0] for out in back] == ([{"a": "good"}] if accepted else [])
    for out in (again, *back):
        assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce), bad) == []
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
    assert not stream.holds(bad)
    had = [one.version for _, one, said in stream.told() if (one.name, said) == ("a", "accepted")]
    assert had == ([good.named(EXTENSION_CONFIG)["a"].version] if accepted else [])


def test_what_goes_back_to_what_was_good_is_told_so_and_is_answered() -> None:
    """Or nobody would hear that the client is in step again."""
    stream = DeltaStream()
    good, bad = two("good"), two("bad")
    for out in stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b")), good):
        stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce), good)
    (out,) = stream.update(bad)
    (back,) = stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce, error="no"), bad)
    assert stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=back.nonce), bad) == []
    (out,) = stream.update(good)
    assert changes(out) == ({"a": "good"}, set())
    assert not stream.nacks
    stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce), good)
    assert stream.holds(good)


def test_what_was_accepted_before_is_never_to_blame() -> None:
    """A client that takes offence at what it has goes on having it."""
    stream = SotwStream()
    good = snapshot((LISTENER, resource(LISTENER, "l")))
    (out,) = stream.receive(SotwRequest(LISTENER), good)
    stream.receive(SotwRequest(LISTENER, (), out.nonce, out.version), good)
    more = snapshot((LISTENER, resource(LISTENER, "l")), (LISTENER, resource(LISTENER, "m")))
    (out,) = stream.update(more)
    (again,) = stream.receive(SotwRequest(LISTENER, (), out.nonce, "", "duplicate address of l"), more)
    assert stream.nacks[LISTENER].names == {"m"}
    assert named(again) == {"l": "1"}
    assert stream.receive(SotwRequest(LISTENER, (), again.nonce, "", "no"), more) == [], "and there is no loop"


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("Error adding/updating listener(s) inbound/http: Proto constraint validation failed", ["inbound/http"]),
        ("inbound/http2, inbound/http: bad", ["inbound/http", "inbound/http2"]),
        ("Error adding/updating listener(s) inbound/http2: bad", ["inbound/http2"]),
        ("the end is inbound/http.", ["inbound/http"]),
        ("app/inbound/http and inbound/http.v2", []),
        ("no memory", []),
    ],
)
def test_culprits_are_found_by_their_whole_names(detail: str, expected: list[str]) -> None:
    """A name within another one is not meant."""
    suspects = [resource(LISTENER, name) for name in ("inbound/http", "inbound/http2")]
    assert [one.name for one in named_in(detail, suspects)] == expected


def test_what_was_under_way_again_when_it_was_refused_explains_the_next_refusal() -> None:
    """And its only new neighbour, which nobody names, is not taken for the culprit."""
    stream, first = SotwStream(), snapshot((LISTENER, resource(LISTENER, "a", "bad")))
    (one,) = stream.receive(SotwRequest(LISTENER), first)
    both = snapshot((LISTENER, resource(LISTENER, "a", "bad")), (LISTENER, resource(LISTENER, "b", "2")))
    (two,) = stream.update(both)
    assert stream.receive(SotwRequest(LISTENER, (), one.nonce, "", "no"), both) == [], "a fresher verdict follows"
    (again,) = stream.receive(SotwRequest(LISTENER, (), two.nonce, "", "no"), both)
    assert named(again) == {"b": "2"}
    assert stream.nacks[LISTENER].names == {"a"}


def test_a_changed_resource_is_let_go_and_the_others_stay() -> None:
    """By name and version."""
    quarantine = Quarantine()
    old, other = resource(LISTENER, "l", "old"), resource(LISTENER, "m")
    quarantine.add([old], "bad l")
    quarantine.add([other], "bad m")
    assert quarantine.told() == "bad l; bad m"
    assert quarantine.release({"l": resource(LISTENER, "l", "new"), "m": other}) == {"l"}
    assert (quarantine.holds(old), quarantine.holds(other), quarantine.names) == (False, True, {"m"})


@pytest.mark.parametrize("make", [sotw, delta])
def test_a_neighbour_that_is_sent_again_brings_along_what_it_needs(make: Any) -> None:
    """A cluster warms until its endpoints come after it, and those of before came before it."""
    client = make()
    client.blames = True
    client.push(world({(CLUSTER, "a"): "1", (CLUSTER, "b"): "1"}))
    client.drain()
    client.push(world({(CLUSTER, "a"): "bad", (CLUSTER, "b"): "2"}))
    client.inbox = client.inbox[:1]  # it refuses the clusters, and what was sent behind them is lost on it
    client.read_one()
    assert [out.type_url for out in client.inbox] == [CLUSTER, ENDPOINT]


def answered(stream: Any, outs: list[Any], now: Snapshot, bad: str = "=bad") -> list[Any]:
    """Say yes to each policy but those that end in *bad*; what that brings about, answered too."""
    said = []
    while outs:
        out = outs.pop(0)
        said.append(out)
        held = named(out) if isinstance(stream, SotwStream) else changes(out)[0]
        error = "no" if any(f"={value}" == bad for value in held.values()) else None
        if isinstance(stream, SotwStream):
            outs += stream.receive(
                SotwRequest(EXTENSION_CONFIG, ("a", "b"), out.nonce, "" if error else out.version, error), now
            )
        else:
            outs += stream.receive(DeltaRequest(EXTENSION_CONFIG, nonce=out.nonce, error=error), now)
    return said


def asked(stream: Any, now: Snapshot, initial: dict[str, str] | None = None) -> list[Any]:
    """What a client is sent that asks for both policies on a new stream; each is answered."""
    stream.update(now)
    if isinstance(stream, SotwStream):
        return answered(stream, stream.receive(SotwRequest(EXTENSION_CONFIG, ("a", "b")), now), now)
    return answered(stream, stream.receive(DeltaRequest(EXTENSION_CONFIG, ("a", "b"), initial=initial or {}), now), now)


def sent_to(stream: Any, outs: list[Any]) -> dict[str, str]:
    """The contents of all of them, the last of each name."""
    found: dict[str, str] = {}
    for out in outs:
        found |= named(out) if isinstance(stream, SotwStream) else changes(out)[0]
    return found


both = pytest.mark.parametrize("make", [SotwStream, DeltaStream])


@both
@pytest.mark.parametrize("streams", [2, 3])
def test_a_policy_that_was_refused_is_not_tried_again_on_the_next_stream(make: Any, streams: int) -> None:
    """Nor on the one after it: the client is sent what it had, so that it goes by that from then on, and is in NACK."""
    stream, good, bad = make(), two("good"), two("bad", "2")
    asked(stream, good)
    answered(stream, stream.update(bad), bad)
    for _ in range(streams):
        before, stream = stream.refusals(), make()
        stream.resume(before)
        assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
        assert sent_to(stream, asked(stream, bad)) == {"a": "good", "b": "2"}
        assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
        assert not stream.holds(bad)
        assert stream.update(bad) == []


@both
def test_a_policy_that_was_refused_and_had_none_before_is_neither_sent_nor_missing(make: Any) -> None:
    """The client would take the bytes that it knows, and not use them; nor is it told that there is no such policy."""
    stream, bad = make(), two("bad", "2")
    asked(stream, bad)
    before, stream = stream.refusals(), make()
    stream.resume(before)
    outs = asked(stream, bad)
    assert sent_to(stream, outs) == {"b": "2"}
    if make is DeltaStream:
        assert not any(changes(out)[1] for out in outs)
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}
    assert stream.refusals() == before


@both
def test_a_policy_that_is_another_one_by_then_is_tried(make: Any) -> None:
    """What was refused is let go of; the client is in step once it has accepted."""
    stream, bad, mended = make(), two("bad", "2"), two("mended", "2")
    asked(stream, two("good"))
    answered(stream, stream.update(bad), bad)
    before, stream = stream.refusals(), make()
    stream.resume(before)
    assert sent_to(stream, asked(stream, mended)) == {"a": "mended", "b": "2"}
    assert not stream.nacks
    assert stream.holds(mended)
    assert stream.refusals() == {}


def test_what_a_client_brings_is_what_it_has() -> None:
    """Incremental: it says which version that is, and is sent its bytes if they are known."""
    stream, good, bad = DeltaStream(), two("good"), two("bad", "2")
    asked(stream, good)
    answered(stream, stream.update(bad), bad)
    initial = {name: one.version for name, one in two("good", "2").named(EXTENSION_CONFIG).items()}
    before, stream = stream.refusals(), DeltaStream()
    stream.resume(before)
    assert sent_to(stream, asked(stream, bad, initial)) == {"a": "good"}
    assert stream.nacks[EXTENSION_CONFIG].names == {"a"}


def test_of_other_types_each_stream_begins_anew() -> None:
    """A listener that was refused for a port that was taken may be taken by now, and is judged each time."""
    stream, bad = DeltaStream(), snapshot((LISTENER, resource(LISTENER, "l", "bad")))
    (out,) = stream.receive(DeltaRequest(LISTENER), bad)
    stream.receive(DeltaRequest(LISTENER, nonce=out.nonce, error="l: no"), bad)
    assert stream.nacks[LISTENER].names == {"l"}
    assert stream.refusals() == {}
