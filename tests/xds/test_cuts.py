"""Where the agent cuts single connections, a revocation changes no filter chain of a TCP port, and a rule does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.policy.revoked import with_revoked
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import EXTENSION_CONFIG, LISTENER
from tests.policy.intent import NOW
from tests.xds.intent import INTENT, REGISTRY, model_of

TRAINER = "spiffe://example.test/ns/team-a/sa/trainer"
NOBODY = Revocations()
GONE = Revocations.of((), [RevokedIdentity(TRAINER, 1, "left", "alice")])
ONE = Revocations.of([RevokedSerial("0" * 32, TRAINER, "key", "node", 2**31, 1, "keyCompromise", "stolen")])


def snapshot(
    revocations: Revocations, text: str = INTENT, tainted: frozenset[str] = frozenset(), *, cuts: bool = True
) -> Snapshot:
    """What the registry's proxy holds; its agent cuts at the database's port, or does not."""
    model = replace(with_revoked(model_of(text), revocations), tainted=tainted)
    instance = replace(REGISTRY, cuts=frozenset({"db"} if cuts else ()))
    return compile_snapshot(model, model.workloads["shared/registry"], instance, {}, now=NOW)


def listener(of: Snapshot) -> Any:
    """The bytes of the database's listener."""
    return of.named(LISTENER)["inbound/db"].any


def policy(of: Snapshot) -> Any:
    """What its connections are judged by."""
    return of.named(EXTENSION_CONFIG)["inbound/db/connection"].any


def test_a_revoked_identity_changes_what_new_connections_are_judged_by_and_no_chain():
    """The agent ends those that are open; lifting drains nothing either."""
    before, after = snapshot(NOBODY), snapshot(GONE)
    assert listener(before) == listener(after)
    assert policy(before) != policy(after)
    rules = codec.unpack(codec.unpack(policy(after)).typed_config.SerializeToString())
    assert rules.matcher == rules.shadow_matcher
    assert TRAINER.encode() in policy(after)


@pytest.mark.parametrize(
    "after",
    [
        snapshot(ONE),
        snapshot(NOBODY, tainted=frozenset({"key"})),
        snapshot(NOBODY, INTENT.replace("reason: rows", "reason: rows\n  mode: shadow")),
    ],
    ids=["a certificate", "an authority", "a rule"],
)
def test_whatever_else_ends_connections_drains_the_chain(after: Snapshot):
    """Of these the agent knows nothing."""
    assert listener(snapshot(NOBODY)) != listener(after)


def test_without_such_an_agent_the_chain_drains():
    """As ever."""
    assert listener(snapshot(NOBODY, cuts=False)) != listener(snapshot(GONE, cuts=False))
    assert "inbound/db/connection" not in snapshot(NOBODY, cuts=False).named(EXTENSION_CONFIG)


def test_requests_are_not_concerned():
    """Ports that speak HTTP drain: their open streams are not known to the agent."""
    before, after = (snapshot(some).named(LISTENER)["inbound/http"].any for some in (NOBODY, GONE))
    assert before != after


def test_what_a_proxy_says_of_its_agent_is_names():
    """Anything else is refused with the name of the field."""
    assert Instance.parse("n", {"ringfence": {"cuts": ["db"]}}).cuts == {"db"}
    assert Instance.parse("n", {}).cuts == frozenset()
    for wrong in ("db", [1], {"db": True}):
        with pytest.raises(RingfenceError, match=r"ringfence\.cuts"):
            Instance.parse("n", {"ringfence": {"cuts": wrong}})
