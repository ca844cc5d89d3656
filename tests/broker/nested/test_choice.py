"""Which server is above, as the options name it, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.address import Address
from ringfence.broker.nested.choice import AboveChoice, above_of
from ringfence.certs.errors import Kind, RingfenceError

BOTH = {"upstream_server": "127.0.0.1:8443", "upstream_socket": "/run/agent.sock"}


def test_each_kind_of_server_is_known_by_its_own_name() -> None:
    """By default it is one of ours."""
    assert above_of({}) is None
    found = above_of(BOTH)
    assert found == AboveChoice(Address("127.0.0.1", 8443), "/run/agent.sock")
    assert found.server_path == "/ringfence/server"
    spire = above_of({**BOTH, "upstream_kind": "spire", "upstream_spiffe_id": "spiffe://a/b"})
    assert spire is not None
    assert (spire.server_path, spire.spiffe_id) == ("/spire/server", "spiffe://a/b")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"upstream_server": "127.0.0.1:8443"}, "come together"),
        ({"upstream_socket": "/run/agent.sock"}, "come together"),
        ({**BOTH, "upstream_cert": Path("x")}, "two upstreams"),
        ({**BOTH, "upstream_server": "nowhere"}, "HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, Any], words: str) -> None:
    """Before anything starts."""
    with pytest.raises(RingfenceError, match=words) as caught:
        above_of(given)
    assert caught.value.kind is Kind.INVALID
