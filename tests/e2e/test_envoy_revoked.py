"""A real Envoy and revocations: one identity and one certificate, on open connections and on new ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPException

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial, serial_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from ringfence.xds import codec, decision
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import SECRET
from tests.e2e.identities import Identity
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import NODE, RULES, Bench, closed, connect, name_of, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER = "spiffe://example.test/ns/team-a/sa/trainer"
PATH = "/models/team-a/base"
DRAIN = 30.0  # seconds: `--drain-time-s 1`, Envoy's own steps, and a machine that is busy; else it is never closed


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


@pytest.fixture(autouse=True)
def _lifted(bench: Bench) -> Iterator[None]:
    """Each test begins with nothing revoked, and with that in force."""
    bench.apply(RULES)
    served = bench.own.issue(SpiffeId.parse(TRAINER))
    until(lambda: status(bench, served) == 200, "the rules")
    yield
    assert bench.plane.nacks == []


def identity() -> Revocations:
    """The trainer is revoked."""
    return Revocations.of((), [RevokedIdentity(TRAINER, int(time.time()), "left", "alice")])


def certificate(shown: Identity) -> Revocations:
    """One certificate of the trainer is revoked."""
    one = RevokedSerial(shown.serial, TRAINER, "key", "node", 2**31, int(time.time()), "keyCompromise", "stolen")
    return Revocations.of([one])


def status(bench: Bench, shown: Identity | str, path: str = PATH) -> int:
    """What a GET on a new connection is answered with."""
    with Caller(bench.http, bench.tls(shown)) as caller:
        return caller.ask("GET", path).status


def refused(bench: Bench, caller: Caller, shown: Identity | str) -> bool:
    """Whether the next request is: on a new connection, where a draining chain has just said that it closes this."""
    try:
        return caller.ask("GET", PATH).status == 403
    except (OSError, HTTPException):
        return status(bench, shown) == 403


def ended(caller: Caller) -> float:
    """Wait until the other side closed that connection; how long it took."""
    began = time.monotonic()
    if caller.socket.fileno() < 0:
        return 0.0
    caller.socket.settimeout(30)
    assert closed(caller.socket)
    return time.monotonic() - began


def test_a_revoked_identity_is_refused_on_its_open_connection_which_is_closed_after_that(bench: Bench):
    """The next request is denied; the chain drains, so that nothing that was open outlives it by more than a moment."""
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
        assert caller.ask("GET", PATH).status == 200
        bench.apply(RULES, identity())
        until(lambda: refused(bench, caller, "team-a/trainer"), "the refusal")
        assert ended(caller) < DRAIN
    assert status(bench, "team-a/trainer") == 403
    assert status(bench, "team-a/trainer", "/models/public/x") == 403, "by a rule on its namespace as well"
    assert status(bench, "team-a/evaluator", "/models/public/x") == 200


def test_one_certificate_is_refused_and_another_of_the_same_identity_is_not(bench: Bench):
    """On open connections and on new ones, by the serial that each connection remembers."""
    stolen, fresh = (bench.own.issue(SpiffeId.parse(TRAINER)) for _ in range(2))
    with Caller(bench.http, bench.tls(stolen)) as one, Caller(bench.http, bench.tls(fresh)) as other:
        assert one.ask("GET", PATH).status == other.ask("GET", PATH).status == 200
        bench.apply(RULES, certificate(stolen))
        until(lambda: refused(bench, one, stolen), "the refusal")
        assert not refused(bench, other, fresh)
        assert ended(one) < DRAIN
    assert status(bench, stolen) == 403
    assert status(bench, fresh) == 200


def test_a_serial_that_begins_with_zeros_is_known_too(bench: Bench):
    """Listings write 32 digits, Envoy only the bytes that the number needs."""
    for serial in (0x7F, 0x0A1B2C, 0x0123456789ABCDEF):
        shown = bench.own.forge(TRAINER, serial=serial)
        assert shown.serial == serial_of(serial)
        bench.apply(RULES, certificate(shown))
        until(lambda shown=shown: status(bench, shown) == 403, "the refusal")  # type: ignore[misc]


@pytest.mark.parametrize("by_serial", [False, True])
def test_a_tcp_connection_is_closed_and_the_next_one_refused(bench: Bench, by_serial: bool):  # noqa: FBT001
    """Envoy judges no open TCP connection again: the chain drains."""
    shown = bench.own.issue(SpiffeId.parse(TRAINER))
    with connect(bench, shown) as open_one:
        open_one.sendall(b"rows")
        assert open_one.recv(64)
        bench.apply(RULES, certificate(shown) if by_serial else identity())
        open_one.settimeout(30)
        assert closed(open_one)
    before = len(bench.received)
    with connect(bench, shown) as refused:
        refused.sendall(b"rows")
        assert closed(refused)
        log = bench.plane.log(point=decision.POINT_TCP, peer__address=name_of(refused))
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="revoked@builtin")
    assert len(bench.received) == before


@pytest.mark.parametrize("by_serial", [False, True])
def test_envoy_decides_as_the_evaluator_does(bench: Bench, by_serial: bool):  # noqa: FBT001
    """Revoked or not, allowed or not: the same verdict by the same name."""
    stolen = bench.own.issue(SpiffeId.parse(TRAINER))
    model = bench.apply(RULES, certificate(stolen) if by_serial else identity())
    until(lambda: status(bench, stolen) == 403, "the refusal")
    for key, shown in (
        ("team-a/trainer", stolen),
        ("team-a/trainer", bench.own.issue(SpiffeId.parse(TRAINER))),
        ("team-a/evaluator", None),
        ("team-b/notebook", None),
    ):
        identity_ = shown or bench.own.issue(model.workloads[key].spiffe_id)
        for path in (PATH, "/models/team-a/secret/x", "/none", "/a%2f..%2fb"):
            with Caller(bench.http, bench.tls(identity_)) as caller:
                answer = caller.ask("GET", path)
            log = bench.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER])
            asked = Request(
                *(model.workloads[key].spiffe_id, "shared/registry", "http", datetime.now(UTC), "GET", path),
                serial=identity_.serial,
            )
            verdict = evaluate(model, asked)
            decided = decision.decide(log)
            assert decided is not None
            assert (decided.policy_id, decided.allowed) == (verdict.policy_id, verdict.allowed), (key, path)


def test_the_spiffe_validator_heeds_no_crl(bench: Bench):
    """Why certificates are refused by serial in the policy: Envoy takes the list and ignores it."""
    stolen = bench.own.issue(SpiffeId.parse(TRAINER))
    held = bench.plane.secrets[NODE]
    bundles = codec.unpack(held.named(SECRET)["ALL"].any)
    bundles.validation_context.crl.inline_bytes = _crl(bench, stolen)
    listed = {**held.named(SECRET), "ALL": codec.resource("ALL", bundles)[1]}
    try:
        bench.plane.serve_secrets(NODE, Snapshot({SECRET: listed}, "listed"))
        assert status(bench, stolen) == 200
    finally:
        bench.plane.serve_secrets(NODE, held)


def _crl(bench: Bench, shown: Identity) -> bytes:
    slot, now = bench.own.authority.current.x509, datetime.now(UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(int(shown.serial, 16)).revocation_date(now).build()
    listed = x509.CertificateRevocationListBuilder().issuer_name(x509.load_der_x509_certificate(slot.der).subject)
    dated = listed.last_update(now).next_update(now + timedelta(days=1)).add_revoked_certificate(entry)
    return dated.sign(bench.own.keys._keys[slot.key_id], hashes.SHA256()).public_bytes(Encoding.PEM)
