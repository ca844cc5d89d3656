"""What no document opens: metadata services by every spelling, and numbers that are no addresses."""

from ipaddress import ip_address, ip_network

import pytest

from ringfence.policy.forbidden import METADATA_NETWORKS, as_ipv6_too, is_metadata, is_misspelt_address, metadata_below
from tests.policy.intent import HUB, MESH, load, only

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::a9fe:a9fe",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "metadata.google.internal",
    "metadata.google.internal.",
]


@pytest.mark.parametrize("host", METADATA)
def test_metadata_services_are_known_by_every_spelling(host: str):
    """An IPv4 address within an IPv6 one leads to the same place."""
    assert is_metadata(host)


@pytest.mark.parametrize("host", ["169.253.255.255", "10.0.0.1", "hub.example", "2001:db8::1", "metadata.example"])
def test_others_are_not(host: str):
    """Private networks are where many hosts outside the mesh are."""
    assert not is_metadata(host)


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "127.1", "10.0.0.0x1", "a.1", "0x"])
def test_a_number_that_is_no_address_is_known(host: str):
    """Some resolvers take them for addresses, so that nobody could tell where they lead."""
    assert is_misspelt_address(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "1.example", "x0x1.dev", "2001:db8::1", "a-1"])
def test_names_and_addresses_are_not_such_numbers(host: str):
    """Digits within a name do no harm."""
    assert not is_misspelt_address(host)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("host: hub.example", "host: 169.254.169.254"),
        ("host: hub.example", "host: metadata.google.internal"),
        ("host: hub.example", "host: hub.example, address: 169.254.169.254"),
        ("host: hub.example", "host: hub.example, address: '169.254.169.254:80'"),
        ("host: hub.example", "host: hub.example, address: '[fd00:ec2::254]:80'"),
        ("host: hub.example", "host: hub.example, address: metadata.google.internal"),
    ],
)
def test_no_document_opens_a_metadata_service(old: str, new: str):
    """By its name, by its address, or as the address of another name."""
    assert old in HUB
    assert only(load(MESH, HUB.replace(old, new))).code == "RF1111"


def test_a_host_that_is_half_a_number_is_refused():
    """It is an error of the name."""
    assert only(load(MESH, HUB.replace("hub.example", "0xa9fea9fe"))).code == "RF1105"


@pytest.mark.parametrize("text", ["169.254.169.254", "::ffff:a9fe:a9fe", "::ffff:0:a9fe:a9fe", "64:ff9b::a9fe:a9fe"])
def test_a_forbidden_address_is_forbidden_in_every_spelling(text: str):
    """A packet filter that knows IPv4 alone would let an answer of IPv6 through that leads to the same place."""
    address = ip_address(text)
    assert any(address in network for network in as_ipv6_too(METADATA_NETWORKS))


def test_what_a_translator_takes_for_public_is_not_forbidden():
    """DNS64 answers with such addresses for every host of IPv4."""
    networks = as_ipv6_too([ip_network("10.0.0.0/8")])
    assert ip_network("64:ff9b::a00:0/104") in networks
    assert not any(ip_address("64:ff9b::801:101") in network for network in networks)


def test_names_of_metadata_services_are_found_below_a_star():
    """`*.google.internal` would mean one."""
    assert metadata_below(".google.internal") == "metadata.google.internal"
    assert metadata_below(".example") is None
