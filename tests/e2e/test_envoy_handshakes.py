"""A real Envoy and certificates: whose are refused, and by which name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds import decision
from tests.e2e.identities import Domain
from tests.e2e.proxies import Caller
from tests.e2e.registry import Bench, name_of, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


def test_two_uri_names_are_refused_though_our_own_authority_signed_them(bench: Bench):
    """The guard: Envoy's validator accepts the certificate, one of its names is even allowed, and it is denied."""
    forged = bench.own.forge(
        "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/team-b/sa/notebook"
    )
    with Caller(bench.http, bench.tls(forged)) as caller:
        assert caller.ask("GET", "/models/public/base").status == 403  # a rule by prefix would match the first name
        answer = caller.ask("GET", "/models/team-a/base")
    assert answer.status == 403
    log = bench.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER])
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-one-uri@builtin")
    assert "," in log[decision.PEER]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("spiffe://example.test/ns/team-a/sa/trainer\0/x", id="a NUL"),
        pytest.param("spiffe://example.test/ns/team-a/sa/trainer,x", id="a comma"),
        pytest.param("spiffe://example.test/ns/team-a/sa/trainer/", id="a slash at the end"),
        pytest.param("SPIFFE://example.test/ns/team-a/sa/trainer", id="another case"),
        pytest.param("spiffe://example.test/ns/team-a/sa/../sa/trainer", id="a detour"),
        pytest.param("spiffe://example.test/ns/team-a/sa/train%65r", id="an escape"),
        pytest.param("spiffe://example.test", id="no path"),
        pytest.param("spiffe://example.test/", id="a path of nothing"),
    ],
)
def test_no_other_spelling_of_a_name_is_that_name(bench: Bench, name: str):
    """Though our own authority signed it (a NUL was cut off up to Envoy 1.38: CVE-2026-47778)."""
    answers = []
    for uri in ("spiffe://example.test/ns/team-a/sa/trainer", name):
        with socket.create_connection(("127.0.0.1", bench.http), timeout=30) as raw:
            answers.append(_answered(raw, bench.tls(bench.own.forge(uri)))[:12])
    assert answers[0] == b"HTTP/1.1 200"
    assert answers[1] in {b"", b"HTTP/1.1 403"}


def test_a_trusted_foreign_authority_cannot_borrow_a_name_of_ours(bench: Bench):
    """Its own name first satisfies the validator, ours second would satisfy any-of matching; the guard says no."""
    forged = bench.foreign.forge("spiffe://other.test/x", "spiffe://example.test/ns/team-a/sa/trainer")
    with Caller(bench.http, bench.tls(forged)) as caller:
        assert caller.ask("GET", "/models/team-a/base").status == 403


def test_a_member_of_a_trusted_foreign_domain_is_a_stranger(bench: Bench):
    """Trusting a bundle authenticates; it allows nothing."""
    stranger = bench.foreign.issue(SpiffeId.parse("spiffe://other.test/ns/team-a/sa/trainer"))
    with Caller(bench.http, bench.tls(stranger)) as caller:
        assert caller.ask("GET", "/models/team-a/base").status == 403


def test_a_name_of_ours_under_another_root_is_no_identity(bench: Bench):
    """The bundle is chosen by the domain in the name: the handshake fails, and the listener's log says so."""
    forged = bench.foreign.forge("spiffe://example.test/ns/team-a/sa/trainer")
    _refused(bench, bench.tls(forged))


def test_a_domain_nobody_trusts_is_refused(bench: Bench):
    """A self-made trust domain gets no further than the handshake."""
    stranger = Domain("evil.test").issue(SpiffeId.parse("spiffe://evil.test/ns/team-a/sa/trainer"))
    _refused(bench, bench.tls(stranger))


def test_an_expired_certificate_is_refused(bench: Bench):
    """An SVID is good until it ends."""
    expired = bench.own.forge("spiffe://example.test/ns/team-a/sa/trainer", lived=timedelta(minutes=5))
    _refused(bench, bench.tls(expired))


def test_no_certificate_is_refused(bench: Bench):
    """Mutual TLS or nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _refused(bench, context)


def test_tls_1_2_is_refused(bench: Bench):
    """1.3 only."""
    context = bench.tls("team-a/trainer")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _refused(bench, context)


def test_plaintext_is_refused_and_reported(bench: Bench):
    """A plain request to an mTLS port gets no answer, and the refusal is a named decision in the log."""
    with socket.create_connection(("127.0.0.1", bench.http), timeout=30) as plain:
        plain.sendall(b"GET /models/team-a/base HTTP/1.1\r\nhost: registry\r\n\r\n")
        assert not plain.recv(4096).startswith(b"HTTP")
        address = name_of(plain)
    log = bench.plane.log(point=decision.POINT_TLS, peer__address=address)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-mtls@builtin")
    assert "HTTP_REQUEST" in log[decision.TLS_FAILURE]


def _refused(bench: Bench, context: ssl.SSLContext) -> None:
    """The handshake fails (with TLS 1.3: at the first read), and the listener reports it as `not-mtls`."""
    with socket.create_connection(("127.0.0.1", bench.http), timeout=30) as raw:
        address = name_of(raw)
        assert not _answered(raw, context)
    log = bench.plane.log(point=decision.POINT_TLS, peer__address=address)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-mtls@builtin")


def _answered(raw: socket.socket, context: ssl.SSLContext) -> bytes:
    try:
        with context.wrap_socket(raw) as tls:
            tls.sendall(b"GET /models/team-a/base HTTP/1.1\r\nhost: registry\r\n\r\n")
            return tls.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""
