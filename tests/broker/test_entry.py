"""Registration entries as values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.broker.entry import SERVER_PATH, Entry, any_node, check_entry, selectors_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
GOOD = Entry("", SpiffeId(TD, "/ns/a/sa/b"), any_node(TD), selectors_of(["unix:uid:1000"]))
AGENT = SpiffeId(TD, "/ringfence/agent/join_token/x")


@pytest.mark.parametrize(
    "change",
    [
        {"spiffe_id": SpiffeId(TrustDomain("other.org"), "/a")},
        {"spiffe_id": SpiffeId(TD, "")},
        {"spiffe_id": SpiffeId(TD, "/ringfence/server")},
        {"spiffe_id": AGENT},
        {"spiffe_id": SpiffeId(TD, "/spire/server")},
        {"parent_id": SpiffeId(TrustDomain("other.org"), "/ringfence/nodes")},
        {"parent_id": SpiffeId(TD, "/ns/a/sa/b")},
        {"parent_id": SpiffeId(TD, "/ringfence/server")},
        {"parent_id": SpiffeId(TD, "/ringfence/other")},
        {"parent_id": SpiffeId(TD, "")},
        {"selectors": selectors_of(["x509pop:subject:cn:a"])},
        {"selectors": selectors_of(["x509pop:subject:cn:a", "unix:uid:1"]), "parent_id": SpiffeId(TD, SERVER_PATH)},
        {"selectors": ()},
        {"x509_ttl": -1},
        {"x509_ttl": 8 * 24 * 3600},
        {"jwt_ttl": -1},
        {"dns_names": ("*.example.org",)},
        {"dns_names": ("Upper.example",)},
        {"dns_names": ("a.example\n",)},
        {"dns_names": ("",)},
        {"expires_at": -1},
        {"expires_at": 1 << 62},
        {"federates_with": (TD,)},
        {"hint": "a" * 257},
        {"hint": "a\nb"},
    ],
)
def test_what_could_do_harm_or_never_match_is_refused(change: dict[str, object]) -> None:
    """Another trust domain, our own names, no selector, endless life, names that are none."""
    with pytest.raises(RingfenceError) as caught:
        check_entry(replace(GOOD, **change), TD)  # type: ignore[arg-type]
    assert caught.value.kind is Kind.INVALID


def test_a_good_entry_is_itself() -> None:
    """For every node, for one, or for those of an alias; and an alias."""
    assert check_entry(GOOD, TD) is GOOD
    narrow = replace(GOOD, parent_id=AGENT, dns_names=("a.example", "b"))
    assert check_entry(narrow, TD) is narrow
    alias = replace(
        GOOD, parent_id=SpiffeId(TD, SERVER_PATH), selectors=selectors_of([f"x509pop:ca:fingerprint:{'0' * 64}"])
    )
    assert check_entry(alias, TD) is alias
    assert check_entry(replace(GOOD, parent_id=SpiffeId(TD, "/nodes/gpu")), TD)


def test_the_order_of_selectors_does_not_make_another_entry() -> None:
    """Nor does one given twice; the identity, the parent and the origin do."""
    one = replace(GOOD, selectors=selectors_of(["unix:uid:1", "unix:gid:2"]))
    two = replace(GOOD, selectors=selectors_of(["unix:gid:2", "unix:uid:1", "unix:gid:2"]))
    assert one.key == two.key
    others = [replace(one, origin="a/b"), replace(one, parent_id=AGENT), replace(one, spiffe_id=SpiffeId(TD, "/x"))]
    assert len({entry.key for entry in [one, *others]}) == 4


def test_a_rule_is_an_entry_with_a_template() -> None:
    """It may go without selectors: its placeholders ask for facts; its key and its name carry the template."""
    rule = Entry("r", SpiffeId(TD, ""), any_node(TD), (), template="/ns/{k8s.ns}/sa/{k8s.sa}")
    assert check_entry(rule, TD) is rule
    assert rule.name == "spiffe://example.org/ns/{k8s.ns}/sa/{k8s.sa}"
    assert rule.key != replace(rule, template="/ns/{k8s.ns}").key
    with pytest.raises(RingfenceError, match="first segment"):
        check_entry(replace(rule, template="/{k8s.ns}/a"), TD)


def test_an_instance_of_a_rule_is_an_entry() -> None:
    """With the facts that make it; what the template does not make is denied, and so is an entry that is no rule."""
    rule = Entry("r", SpiffeId(TD, ""), any_node(TD), selectors_of(["unix:uid:1"]), template="/ns/{k8s.ns}")
    made = rule.instance("/ns/ml")
    assert str(made.spiffe_id) == "spiffe://example.org/ns/ml"
    assert made.selectors == selectors_of(["k8s:ns:ml", "unix:uid:1"])
    assert not made.template
    for entry, path in ((rule, "/ns/ml/x"), (rule, ""), (rule, "/ringfence/server"), (GOOD, "/ns/a/sa/b"), (GOOD, "")):
        with pytest.raises(RingfenceError) as caught:
            entry.instance(path)
        assert caught.value.kind is Kind.DENIED


def test_no_rule_makes_the_name_that_spire_servers_know_a_server_by() -> None:
    """A service account called server must not pass for the one above."""
    rule = Entry("r", SpiffeId(TD, ""), any_node(TD), selectors_of(["unix:uid:1"]), template="/spire/{k8s.sa}")
    assert rule.instance("/spire/other")
    with pytest.raises(RingfenceError, match="no instance"):
        rule.instance("/spire/server")


def test_an_end_counts_from_its_second() -> None:
    """0 is never."""
    assert [replace(GOOD, expires_at=end).has_ended(100.0) for end in (0, 100, 101)] == [False, True, False]
