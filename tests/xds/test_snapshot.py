"""Snapshots: versions follow content, and nothing in one points at what is not there."""

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds import types
from ringfence.xds.snapshot import Resource, Snapshot, content_version


def resource(name: str, body: bytes, *needs: tuple[str, str]) -> Resource:
    """A resource of any content."""
    return Resource(name, content_version(body), body, frozenset(needs))


def test_equal_content_has_an_equal_version_whatever_the_order():
    """Two servers that compile the same thing agree on versions, so a proxy that moves is sent nothing."""
    a, b = resource("a", b"1"), resource("b", b"2")
    one = Snapshot.of([(types.CLUSTER, a), (types.CLUSTER, b)], "r1")
    two = Snapshot.of([(types.CLUSTER, b), (types.CLUSTER, a)], "r2")
    assert one.type_version(types.CLUSTER) == two.type_version(types.CLUSTER)


def test_changed_content_or_names_change_the_version():
    """A type's version moves when a resource changes, comes or goes."""
    versions = {
        Snapshot.of([(types.CLUSTER, r) for r in some], "r").type_version(types.CLUSTER)
        for some in ([], [resource("a", b"1")], [resource("a", b"2")], [resource("b", b"1")])
    }
    assert len(versions) == 4


def test_a_type_that_is_absent_is_an_empty_type():
    """A type nobody mentioned is empty and has the version of emptiness."""
    empty = Snapshot.of([], "r")
    assert empty.named(types.ROUTE) == {}
    assert empty.type_version(types.ROUTE) == Snapshot({types.ROUTE: {}}, "r").type_version(types.ROUTE)


@pytest.mark.parametrize("url", [types.ENDPOINT, types.ROUTE, types.EXTENSION_CONFIG])
def test_a_dangling_reference_is_refused(url: str):
    """A cluster without its endpoints, a listener without its routes or policy never leaves the compiler."""
    with pytest.raises(RingfenceError) as caught:
        Snapshot.of([(types.LISTENER, resource("l", b"1", (url, "gone")))], "r")
    assert caught.value.kind is Kind.INVALID
    assert "'gone'" in caught.value.detail


def test_a_reference_that_is_there_is_accepted():
    """The same listener with what it needs is a snapshot."""
    listener = resource("l", b"1", (types.ROUTE, "r"))
    snapshot = Snapshot.of([(types.LISTENER, listener), (types.ROUTE, resource("r", b"2"))], "rev")
    assert set(snapshot.named(types.LISTENER)) == {"l"}


def test_two_resources_of_one_name_are_refused():
    """Names are unique within a type."""
    with pytest.raises(RingfenceError, match="two resources"):
        Snapshot.of([(types.ROUTE, resource("r", b"1")), (types.ROUTE, resource("r", b"2"))], "r")
