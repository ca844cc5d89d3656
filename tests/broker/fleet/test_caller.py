"""Who calls: every guard refuses by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker.fleet.caller import RevokedError, check_claim, identify, identify_again
from ringfence.broker.fleet.scope import Scopes
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial, serial_of
from ringfence.policy.revoked import with_revoked
from ringfence.xds.discovery import Node
from tests.broker.fleet.tls import Identities
from tests.broker.fleet.world import model

TRAINER = "/ns/team-a/sa/trainer"


@pytest.fixture(scope="module")
def identities() -> Identities:
    """One authority for the module."""
    return Identities()


def leaf(identities: Identities, path: str = TRAINER) -> bytes:
    """The DER certificate of a path."""
    return x509.load_pem_x509_certificate(identities.issue(path)[1]).public_bytes(Encoding.DER)


def refused(certificate: bytes | None, scopes: Scopes | None, identities: Identities, *, after: float = 0) -> Kind:
    """The kind of refusal, some seconds after issuing."""
    with pytest.raises(RingfenceError) as caught:
        identify(certificate, scopes, identities.now + timedelta(seconds=after))
    return caught.value.kind


def test_a_workload_of_the_model_is_served(identities: Identities) -> None:
    """With the time at which that ends."""
    caller = identify(leaf(identities), Scopes(model(), identities.now), identities.now)

    assert caller.workload.key == "team-a/trainer"
    assert caller.not_after == (identities.now + timedelta(hours=1)).replace(microsecond=0)


def test_each_step_refuses(identities: Identities) -> None:
    """Not loaded, no certificate, no certificate that can be read, an expired one, no workload, a reserved name."""
    scopes = Scopes(model(), identities.now)

    assert refused(leaf(identities), None, identities) is Kind.UNAVAILABLE
    assert refused(None, scopes, identities) is Kind.UNAUTHENTICATED
    assert refused(b"no certificate", scopes, identities) is Kind.UNAUTHENTICATED
    assert refused(leaf(identities), scopes, identities, after=3600) is Kind.UNAUTHENTICATED
    assert refused(leaf(identities, "/ns/team-a/sa/nobody"), scopes, identities) is Kind.DENIED
    assert refused(leaf(identities, "/ringfence/agent/a/b"), scopes, identities) is Kind.DENIED


def test_whoever_is_revoked_is_refused_by_identity_and_by_certificate(identities: Identities) -> None:
    """Each by itself; the next certificate of the same identity is served."""
    certificate = leaf(identities)
    serial = identify(certificate, Scopes(model(), identities.now), identities.now).serial
    assert serial == serial_of(x509.load_der_x509_certificate(certificate).serial_number)

    name = f"spiffe://example.test{TRAINER}"
    one = RevokedSerial(serial, name, "key", "node", 2**31, 5, "keyCompromise", "stolen")
    for revocations in (Revocations.of([one]), Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")])):
        scopes = Scopes(with_revoked(model(), revocations), identities.now)
        assert refused(certificate, scopes, identities) is Kind.DENIED
    with pytest.raises(RevokedError):  # the last one: as a whole
        identify(certificate, scopes, identities.now)
    after = Scopes(with_revoked(model(), Revocations.of([one])), identities.now)
    with pytest.raises(RingfenceError) as caught:
        identify(certificate, after, identities.now)
    assert not isinstance(caught.value, RevokedError), "it may come back with another one"
    assert identify(leaf(identities), after, identities.now).workload.key == "team-a/trainer"


def test_who_was_identified_is_judged_again_by_what_holds_now(identities: Identities) -> None:
    """Without its certificate: by the model, the time and what is revoked, each by itself."""
    now, scopes = identities.now, Scopes(model(), identities.now)
    caller = identify(leaf(identities), scopes, now)
    revoked = Revocations.of([RevokedSerial(caller.serial, str(caller.spiffe_id), "key", "node", 2**31, 5, "x", "y")])
    without = replace(model(), workloads={})

    assert identify_again(caller, scopes, now) == caller
    for held, when, kind in (
        (None, now, Kind.UNAVAILABLE),
        (scopes, caller.not_after, Kind.UNAUTHENTICATED),
        (Scopes(with_revoked(model(), revoked), now), now, Kind.DENIED),
        (Scopes(without, now), now, Kind.DENIED),
    ):
        with pytest.raises(RingfenceError) as caught:
            identify_again(caller, held, when)
        assert caught.value.kind is kind


def test_a_claim_must_not_differ_from_the_proof(identities: Identities) -> None:
    """Whoever claims nothing is fine; whoever claims a SPIFFE ID must be it."""
    caller = identify(leaf(identities), Scopes(model(), identities.now), identities.now)

    check_claim(Node("n", f"spiffe://example.test{TRAINER}"), caller)
    check_claim(Node("n", "a-label"), caller)
    for claim in ("spiffe://example.test/ns/shared/sa/registry", "spiffe://other.test" + TRAINER, "spiffe:"):
        for node in (Node("n", claim), Node(claim, ""), Node(f"{claim}#1", "")):
            with pytest.raises(RingfenceError) as caught:
                check_claim(node, caller)
            assert caught.value.kind is Kind.DENIED


@pytest.mark.parametrize("node_id", ["n", "team-a/trainer/1", "team-a/trainer", "rack/7/trainer", "shared/registry2/1"])
def test_a_node_id_may_be_anything_but_another_workloads(identities: Identities, node_id: str) -> None:
    """Launchers begin it with the workload, others with what they like."""
    caller = identify(leaf(identities), Scopes(model(), identities.now), identities.now)

    check_claim(Node(node_id, ""), caller, model().workloads)
    check_claim(Node(f"spiffe://example.test{TRAINER}#1", ""), caller, model().workloads)
    with pytest.raises(RingfenceError) as caught:
        check_claim(Node("shared/registry/1", ""), caller, model().workloads)
    assert caught.value.kind is Kind.DENIED
