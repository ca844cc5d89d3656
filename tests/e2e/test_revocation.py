"""Revocation from an operator's call to the last open connection: everything as its command starts it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from typing import Any

import grpc
import pytest
from cryptography import x509

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.certs.revocation import serial_of
from ringfence.proto import workload as workload_api
from ringfence.proto.client import Client
from tests.e2e.identities import Identity
from tests.e2e.learned import PREFIX, WEB, code_of, connect, tls
from tests.e2e.plane import until
from tests.e2e.proxies import Answer, Caller
from tests.e2e.registry import closed
from tests.e2e.stack import Stack, Workload

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("revocation")]

TESTER = f"{PREFIX}/team-a/sa/tester"


@pytest.fixture
def api(stack: Stack) -> Iterator[Any]:
    """The Workload API, as this process sees it: it is the tester."""
    with grpc.insecure_channel(f"unix:{stack.socket}") as channel:
        yield Client(channel, workload_api.DESCRIPTOR)  # type: ignore[arg-type]  # any channel will do


def opened(api: Any) -> tuple[Any, Identity]:
    """An open stream of X.509-SVIDs, and the tester's."""
    stream = api.FetchX509SVID(workload_api.X509SVIDRequest(), metadata=(workload_api.SECURITY_HEADER,))
    svid = next(svid for svid in next(stream).svids if svid.spiffe_id == TESTER)
    return stream, Identity.of(svid)


def _served(api: Any) -> tuple[Any, Identity] | None:
    """The same, or None while the agent refuses: it refuses at once what is revoked."""
    try:
        return opened(api)
    except grpc.RpcError:
        return None


def shown_by(web: Workload, stack: Stack, identity: Identity) -> str:
    """The serial of the certificate that the web's proxy shows."""
    with connect(web.inbound("http"), tls(stack, identity)) as connection:
        leaf = connection.getpeercert(binary_form=True)
    assert leaf is not None
    return serial_of(x509.load_der_x509_certificate(leaf).serial_number)


def revoke(stack: Stack, **what: Any) -> admin.RevokeIdentitiesResponse:
    """What an operator says."""
    done: admin.RevokeIdentitiesResponse = stack.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(**what))
    return done


def lift(stack: Stack, spiffe_id: str) -> None:
    """And takes back."""
    stack.admin.LiftRevocations(admin.LiftRevocationsRequest(spiffe_ids=[spiffe_id]))


def test_a_revoked_identity_is_refused_everywhere_and_told_why(stack: Stack, web: Workload, api: Any) -> None:
    """Its open request stream, its open connection, its stream of the Workload API; then it is given again."""
    stream, identity = opened(api)
    context = tls(stack, identity)
    until(lambda: _status(web, context) == 200, "the web")
    try:
        with Caller(web.inbound("http"), context) as caller, connect(web.inbound("db"), context) as rows:
            rows.sendall(b"rows")
            assert caller.ask("GET", "/team/a").status == 200
            assert rows.recv(64)
            revoke(stack, spiffe_ids=[TESTER], reason="laptop lost")
            refused = until(lambda: _refusal(caller) or _refusal_of_new(web, context), "the refusal")
            assert code_of(partial(list, stream)) is grpc.StatusCode.PERMISSION_DENIED
            rows.settimeout(30)
            assert closed(rows)
        (decision,) = stack.explain(refused.headers["x-ringfence-decision"], wait_ms=2000)
        assert (decision.rule, decision.source, decision.allowed) == ("revoked", TESTER, False)
        assert "laptop lost" in decision.reason
        assert decision.author
        asked = admin.CheckAuthzRequest(
            source=TESTER, destination="shared/web", port="http", method="GET", path="/team/a"
        )
        assert stack.admin.CheckAuthz(asked).rule == "revoked"
    finally:
        lift(stack, TESTER)
    fresh, again = until(lambda: _served(api), "the agent has heard of it")
    assert again.serial != identity.serial, "a certificate that was revoked with its identity stays revoked"
    until(lambda: _status(web, tls(stack, again)) == 200, "the web again")
    assert _status(web, tls(stack, identity)) == 403
    fresh.cancel()


def test_a_revoked_certificate_of_a_server_is_replaced_and_its_callers_find_it_again(
    stack: Stack, web: Workload, api: Any
) -> None:
    """Its proxy is turned out, shows another one, and is offered again, without an operator."""
    stream, identity = opened(api)
    client = stack.workload("team-a/client")
    with Caller(client.upstream("WEB_HTTP")) as caller:
        assert caller.ask("GET", "/public/a").status == 200
        before = shown_by(web, stack, identity)
        revoke(stack, serials=[before], reason="copied")
        caller.socket.settimeout(30)
        assert closed(caller.socket)
    stream.cancel()
    until(lambda: shown_by(web, stack, identity) != before, "another certificate")
    until(lambda: _reaches(client), "the web again", 60)


def test_a_revoked_server_is_called_no_more(stack: Stack, web: Workload) -> None:
    """Its callers are told so by their own proxies; once it is lifted they reach it again."""
    client = stack.workload("team-a/client")
    until(lambda: _reaches(client), "the web", 60)
    until(lambda: _is_connected(stack, WEB), "its proxy's stream")  # who is not connected hears nothing any more
    try:
        revoke(stack, spiffe_ids=[WEB], reason="taken over")
        # Each proxy hears by a stream of its own: until the caller's has, it hands on what the server's answers.
        answer = until(lambda: _unavailable(client), "the word of the caller's own proxy")
        assert f"{WEB} is revoked" in answer.body.decode()
        until(lambda: not _listens(web), "the end of its listener")
    finally:
        lift(stack, WEB)
    until(lambda: _reaches(client), "the web again", 60)


def test_what_a_revoked_authority_has_signed_opens_nothing_and_keeps_nothing_open(stack: Stack, web: Workload) -> None:
    """Connections end when it is tainted, by when everybody has other certificates, and again when it is revoked."""
    client = stack.workload("team-a/client")
    until(lambda: _reaches(client), "the web", 60)
    for steps in (("prepare", "activate", "taint"), ("revoke",)):
        with socket.create_connection(("127.0.0.1", client.upstream("WEB_DB")), timeout=30) as rows:
            rows.sendall(b"rows")
            assert rows.recv(64) == b"rows"
            for step in steps:
                stack.admin.StepAuthority(admin.StepAuthorityRequest(kind="x509", step=step))
            assert closed(rows)
        until(lambda: _reaches(client), "the web again", 60)


def _status(web: Workload, context: ssl.SSLContext) -> int:
    try:
        with Caller(web.inbound("http"), context) as caller:
            return caller.ask("GET", "/team/a").status
    except OSError:
        return 0


def _refusal(caller: Caller) -> Answer | None:
    """The 403 on that connection; None for another answer, or where the last one said that it is closed."""
    try:
        answer = caller.ask("GET", "/team/a")
    except (OSError, HTTPException):
        return None
    return answer if answer.status == 403 else None


def _refusal_of_new(web: Workload, context: ssl.SSLContext) -> Answer | None:
    """The same on a new one."""
    with Caller(web.inbound("http"), context) as caller:
        return _refusal(caller)


def _unavailable(client: Workload) -> Answer | None:
    """The 503 that tells of a server which is revoked; None for what is answered before the proxies have heard."""
    with Caller(client.upstream("WEB_HTTP")) as caller:
        answer = caller.ask("GET", "/public/a")
    return answer if b"revoked" in answer.body and answer.status == 503 else None


def _reaches(client: Workload) -> bool:
    with Caller(client.upstream("WEB_HTTP")) as caller:
        return caller.ask("GET", "/public/a").status == 200


def _is_connected(stack: Stack, spiffe_id: str) -> bool:
    proxies = stack.admin.ListProxies(admin.ListProxiesRequest()).proxies
    return any((proxy.spiffe_id, proxy.state) == (spiffe_id, "SYNCED") for proxy in proxies)


def _listens(web: Workload) -> bool:
    try:
        socket.create_connection(("127.0.0.1", web.inbound("http")), timeout=1).close()
    except OSError:
        return False
    return True
