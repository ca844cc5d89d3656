"""What may be left alone by capture, and what never."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.run.capture_exclusions import Exclusions
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS
from ringfence.xds.virtual import VIRTUAL

_NETWORKS = st.one_of(
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)


def test_flags_are_read_once_and_in_order() -> None:
    """The same flags in any order make the same rules."""
    found = Exclusions.parse(["ib0", "fab0", "ib0"], ["192.168.51.0/24", "192.168.50.0/24", "fd00:fab::/64"])
    assert found.interfaces == ("fab0", "ib0")
    assert list(map(str, found.of_version(4))) == ["192.168.50.0/24", "192.168.51.0/24"]
    assert list(map(str, found.of_version(6))) == ["fd00:fab::/64"]


@pytest.mark.parametrize("name", ["", "a" * 16, 'x" ', "fab0;", "-fab0", "fab0\n", "fab*", "@served"])
def test_what_is_no_name_of_an_interface_is_refused(name: str) -> None:
    """Nothing of it may ever be read as a rule."""
    refused(["--exclude-interface"], [name], [])


def test_loopback_cannot_be_excluded() -> None:
    """Captured packets leave by it: nothing would be captured any more."""
    refused(["would end capture"], ["lo"], [])


@pytest.mark.parametrize("text", ["", "x", "192.168.50.1/24", "192.168.50.0/33", "1.2.3.4/", "fd00::1/64", "10/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """Host bits too: whoever writes them means something else."""
    refused(["--exclude-cidr"], [], [text])


@pytest.mark.parametrize("text", ["0.0.0.0/0", "169.254.169.254/32", "169.0.0.0/8", "::/0", "fd00:ec2::254/128"])
def test_metadata_services_cannot_be_excluded(text: str) -> None:
    """However wide the network is that they are in."""
    refused(["metadata"], [], [text])


@pytest.mark.parametrize(("text", "why"), [("127.0.0.0/8", "loopback"), ("240.1.0.0/16", "names of the mesh")])
def test_nor_can_what_capture_itself_needs(text: str, why: str) -> None:
    """Loopback and virtual addresses."""
    refused([why], [], [text])


@given(_NETWORKS)
def test_no_network_that_is_taken_holds_what_is_forbidden(network: IPv4Network | IPv6Network) -> None:
    """Whatever is asked for."""
    try:
        (taken,) = Exclusions.parse([], [str(network)]).networks
    except RingfenceError:
        return
    for other in (*METADATA_NETWORKS, *LOOPBACK_NETWORKS, ip_network(VIRTUAL)):
        assert taken.version != other.version or not taken.overlaps(other)


def refused(words: list[str], interfaces: list[str], networks: list[str]) -> None:
    """INVALID, with these words and a next step."""
    with pytest.raises(RingfenceError) as caught:
        Exclusions.parse(interfaces, networks)
    assert caught.value.kind is Kind.INVALID
    assert all(word in str(caught.value) for word in words)
    assert caught.value.hint
