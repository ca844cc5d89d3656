"""Node metadata is read strictly and believed no further than where to listen."""

from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.instance import Instance


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
    ],
)
def test_anything_else_is_refused_by_name(ours: Any):
    """The error names the field."""
    with pytest.raises(RingfenceError, match="node metadata ringfence") as caught:
        Instance.parse("n", {"ringfence": ours})
    assert caught.value.kind is Kind.INVALID
