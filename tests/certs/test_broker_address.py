"""SPIFFE_BROKER_SOCKET: what it may say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.broker_address import BrokerAddress
from ringfence.certs.errors import RingfenceError


@given(st.text() | st.from_regex(r"(unix|tcp)://?/?[a-z0-9:./?#\[\]%-]*"))
def test_whatever_is_written_is_taken_whole_or_refused(text: str) -> None:
    """No half-read address, and no other error."""
    try:
        found = BrokerAddress.parse(text)
    except RingfenceError:
        return
    assert bool(found.path) != bool(found.host)
    if found.path:
        assert text in {f"unix:{found.path}", f"unix://{found.path}"}
    else:
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        assert (host.strip("[]"), int(port)) == (found.host, found.port)
