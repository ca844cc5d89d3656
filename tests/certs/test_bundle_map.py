"""Bundle maps: written strictly, read whole or not at all."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.bundle import REFRESH_HINT, SpiffeBundle
from ringfence.certs.bundle_map import parse_map, write_map, x509_only
from ringfence.certs.errors import Kind, RingfenceError
from tests.certs.material import OTHER_TD, TD, new_authority

_OWN = new_authority(wit=True)[0].bundle(7)
_OTHER = new_authority(OTHER_TD)[0].bundle(3)


def test_a_map_reads_back_as_it_was_written() -> None:
    """All kinds of keys, and the sequences; the hints fall back to the default."""
    found = parse_map(write_map([_OWN, _OTHER]))
    assert found == {TD: _OWN, OTHER_TD: _OTHER}
    assert _OWN.refresh_hint == REFRESH_HINT


def test_a_trust_domain_is_there_once() -> None:
    """No silent choice between two."""
    with pytest.raises(RingfenceError, match=r"two bundles of example\.org"):
        write_map([_OWN, _OTHER, _OWN])


def test_a_sequence_that_is_not_known_is_not_made_up() -> None:
    """The Workload API tells none."""
    bundle = SpiffeBundle(TD, _OWN.x509_authorities)
    assert json.loads(write_map([bundle]))["trust_domains"]["example.org"].keys() == {"keys"}


def test_a_map_for_tls_alone_holds_no_keys_of_tokens() -> None:
    """What a strict reader wants."""
    keys = json.loads(write_map([x509_only(_OWN)]))["trust_domains"]["example.org"]["keys"]
    assert {jwk["use"] for jwk in keys} == {"x509-svid"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "`trust_domains` is missing"),
        (b'{"trust_domains":[]}', "no object"),
        (b'{"trust_domains":{"example.org":[]}}', "what example.org has is no object"),
        (b'{"trust_domains":{"example.org":{}}}', "example.org: the bundle cannot be read: `keys`"),
        (b'{"trust_domains":{"Example.org":{"keys":[]}}}', "Example.org"),
        (b'{"trust_domains":{},"trust_domains":{}}', "twice"),
    ],
)
def test_what_is_no_map_is_refused(text: bytes, says: str) -> None:
    """With the trust domain whose bundle it is about."""
    with pytest.raises(RingfenceError) as caught:
        parse_map(text)
    assert caught.value.kind is Kind.INVALID
    assert says in str(caught.value)


def test_one_broken_bundle_refuses_the_map() -> None:
    """Loaded whole: half of a map would look like the end of a federation."""
    document = json.loads(write_map([_OWN, _OTHER]))
    document["trust_domains"]["other.org"]["keys"][0]["x5c"] = ["AAAA"]
    with pytest.raises(RingfenceError, match=r"other\.org: "):
        parse_map(json.dumps(document).encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["trust_domains", "keys", "use", "a.org", "spiffe://a.org"]), inner)
    ),
    max_leaves=10,
)


@given(_JSON | st.fixed_dictionaries({"trust_domains": st.dictionaries(st.text(max_size=9), _JSON, max_size=3)}))
def test_no_json_breaks_the_parser(document: object) -> None:
    """Anything is a map or INVALID."""
    try:
        found = parse_map(json.dumps(document).encode())
    except RingfenceError as error:
        kind = error.kind
        assert kind is Kind.INVALID
    else:
        assert all(bundle.refresh_hint > timedelta(0) for bundle in found.values())
