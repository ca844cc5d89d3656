"""Where a process listens, as operators write it."""

from __future__ import annotations

import pytest

from ringfence.broker.address import Address
from ringfence.certs.errors import Kind, RingfenceError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8443", "127.0.0.1", 8443), ("[::1]:0", "::1", 0), ("server.example:65535", "server.example", 65535)],
)
def test_an_address_reads_back_as_it_is_written(text: str, host: str, port: int) -> None:
    """An IPv6 host is in brackets, so that its colons are not the port's."""
    assert Address.parse(text, flag="--listen") == Address(host, port)
    assert str(Address(host, port)) == text


@pytest.mark.parametrize(
    "text", ["", "8443", ":8443", "host:", "host:x", "host:65536", "host:-1", "host:\u0661", "[]:1"]
)
def test_what_is_no_address_is_refused_by_the_name_of_its_flag(text: str) -> None:
    """With an example of what it should be."""
    with pytest.raises(RingfenceError, match="no HOST:PORT") as caught:
        Address.parse(text, flag="--listen")
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint.startswith("--listen ")
