"""Bundles of other trust domains in the agent: each caller sees those of its own entries."""

from __future__ import annotations

import hashlib

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.answers import Answers
from ringfence.broker.agent.cache import Cache
from ringfence.certs.bundle import SpiffeBundle, digest_of
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.federation.endpoint import authority

OWN, B, C = (TrustDomain(name) for name in ("example.org", "b.test", "c.test"))
FOREIGN = {domain: authority(domain).bundle(1) for domain in (B, C)}


def _entry(name: str, *federates_with: str) -> agent_pb2.Entry:
    return agent_pb2.Entry(
        id=name,
        spiffe_id=f"spiffe://example.org/{name}",
        selectors=[f"unix:user:{name}"],
        federates_with=federates_with,
    )


def _cache() -> Cache:
    cache = Cache(SpiffeBundle(OWN))
    entries = [_entry("alone"), _entry("partner", "b.test"), _entry("both", "b.test", "c.test", "unknown.test")]
    cache.on_entries(agent_pb2.EntriesUpdate(revision=1, full=True, upserts=entries))
    texts = {domain.name: bundle.to_json() for domain, bundle in FOREIGN.items()}
    cache.on_bundle(agent_pb2.BundleUpdate(federated=texts))
    return cache


def test_a_caller_sees_whom_its_own_entries_federate_with() -> None:
    """Not those of its neighbours, although one agent holds them all; two entries give what both name."""
    cache = _cache()
    alone, partner, both = (cache.book.get(name) for name in ("alone", "partner", "both"))
    assert alone is not None
    assert partner is not None
    assert both is not None
    for entries, seen in (
        ((alone,), set()),
        ((partner,), {B}),
        ((both,), {B, C}),
        ((alone, both), {B, C}),
        ((), set()),
    ):
        view = cache.view(entries)
        assert set(view.bundles.federated) == seen
        assert set(view.bundles.all) == {OWN, *seen}


def test_answers_of_two_callers_are_not_mixed_up() -> None:
    """They are framed once for all who see the same, and these do not."""
    cache, answers = _cache(), Answers()
    views = [cache.view((entry,)) for name in ("alone", "partner", "both") if (entry := cache.book.get(name))]
    assert len({view.bundles.key for view in views}) == 3
    for build in (answers.x509_bundles, answers.jwt_bundles):
        assert len({id(build(view)) for view in views}) == 3


def test_the_server_is_told_what_is_held() -> None:
    """So that it sends nothing twice, and takes back what was withdrawn."""
    cache = _cache()
    assert cache.hello().federated_digest == digest_of(FOREIGN.values())
    cache.on_bundle(agent_pb2.BundleUpdate())
    assert cache.hello().federated_digest == b""


def test_a_bundle_that_is_older_than_ours_takes_nothing_away() -> None:
    """It comes from a server that has not heard of an authority which another one has shown us already."""
    cache, now = _cache(), authority(OWN).bundle(5)
    cache.on_bundle(agent_pb2.BundleUpdate(bundle=now.to_json()))
    cache.on_bundle(agent_pb2.BundleUpdate(bundle=SpiffeBundle(OWN, sequence=4).to_json()))
    assert cache.bundles.own == now
    assert cache.hello().bundle_digest == hashlib.sha256(now.to_json()).digest()
