"""Node metadata is read strictly and believed no further than where to listen."""

from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.instance import Capture, Instance

WITHIN = {"netns": "/proc/7/fd/9", "listen": "127.0.0.1:14001", "dns": "127.0.0.1:14053"}


def test_a_captured_workload_is_read():
    """Its namespace, and where in it the proxy is to listen."""
    told = Instance.parse("n", {"ringfence": {"capture": WITHIN}}).capture
    assert told == Capture("/proc/7/fd/9", ("127.0.0.1", 14001), ("127.0.0.1", 14053))


def test_what_run_writes_is_read():
    """Addresses by port and by upstream, the egress listener, the folder of sockets."""
    ours = {
        "inbound": {"http": "127.0.0.1:40001"},
        "upstream": {"registry.shared/http": "[::1]:41001"},
        "egress": "localhost:42001",
        "socket_dir": "/run/x",
    }
    assert Instance.parse("n", {"ringfence": ours}) == Instance(
        "n",
        {"http": ("127.0.0.1", 40001)},
        {"registry.shared/http": ("::1", 41001)},
        ("localhost", 42001),
        "/run/x",
    )


def test_a_proxy_on_the_other_side_of_a_wall_has_pipes():
    """For what its workload calls and for where its workload is; others reach it by an address as ever."""
    ours = {
        "inbound": {"http": "127.0.0.1:40001"},
        "upstream": {"registry.shared/http": "unix:/run/x/to-0"},
        "egress": "unix:/run/x/egress",
        "application": {"http": "unix:/run/x/at-80"},
    }
    found = Instance.parse("n", {"ringfence": ours})
    assert found.upstream == {"registry.shared/http": ("/run/x/to-0", 0)}
    assert found.egress == ("/run/x/egress", 0)
    assert found.application == {"http": ("/run/x/at-80", 0)}


def test_a_rank_is_a_whole_number_however_protobuf_has_it():
    """Of a job the one that an upstream means."""
    assert Instance.parse("n", {"ringfence": {"ranks": {"x.y/c10d": 0.0, "z.y/c10d": 7}}}).ranks == {
        "x.y/c10d": 0,
        "z.y/c10d": 7,
    }


def test_a_node_that_says_nothing_serves_nothing():
    """A foreign Envoy without our metadata gets an empty configuration, not an error."""
    assert Instance.parse("n", {}) == Instance("n")


@pytest.mark.parametrize(
    "ours",
    [
        [],
        {"inbound": []},
        {"inbound": {"http": 1}},
        {"inbound": {"http": "127.0.0.1"}},
        {"inbound": {"http": "127.0.0.1:0"}},
        {"inbound": {"http": "127.0.0.1:65536"}},
        {"inbound": {"http": "127.0.0.1:1\n"}},
        {"upstream": {"x": None}},
        {"egress": ":1"},
        {"socket_dir": 1},
        {"inbound": {"http": "unix:/run/x"}},
        {"upstream": {"x": "unix:relative"}},
        {"upstream": {"x": "unix:@abstract"}},
        {"upstream": {"x": "unix:/" + 107 * "x"}},
        {"upstream": {"x": "unix:/a\n"}},
        {"application": {"x": "127.0.0.1:1"}},
        {"application": {"x": 1}},
        {"ranks": []},
        {"ranks": {"x": "0"}},
        {"ranks": {"x": True}},
        {"ranks": {"x": -1}},
        {"ranks": {"x": 0.5}},
        {"ranks": {"x": float("nan")}},
        {"ranks": {"x": float("inf")}},
        {"ranks": {"x": 1_000_000}},
        {"capture": []},
        {"capture": WITHIN | {"netns": "/etc/shadow"}},
        {"capture": WITHIN | {"netns": "/proc/1/fd/3/../../root"}},
        {"capture": WITHIN | {"netns": "/proc/self/fd/3\n"}},
        {"capture": WITHIN | {"dns": None}},
        {"capture": {"netns": WITHIN["netns"], "dns": WITHIN["dns"]}},
    ],
)
def test_anything_else_is_refused_by_name(ours: Any):
    """The error names the field."""
    with pytest.raises(RingfenceError, match="node metadata ringfence") as caught:
        Instance.parse("n", {"ringfence": ours})
    assert caught.value.kind is Kind.INVALID
