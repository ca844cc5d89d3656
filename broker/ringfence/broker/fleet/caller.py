"""Who calls: the workload that a connection's certificate proves, whatever the caller claims beside it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from ringfence.broker.fleet.scope import Scopes
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid
from ringfence.policy.model import Workload
from ringfence.policy.revoked import is_revoked
from ringfence.xds.discovery import Node


class RevokedError(RingfenceError):
    """The caller is who it says, and its identity is revoked as a whole: it has nothing any more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A workload of the model, for as long as its SVID is valid."""

    spiffe_id: SpiffeId
    workload: Workload
    not_after: datetime
    serial: str = ""  # of the certificate, 32 lower-case hex digits

    @property
    def who(self) -> str:
        """The key of the workload, and of a job which rank as well: what one says of itself is no other's."""
        return f"{self.workload.key}/{self.spiffe_id.path}" if self.workload.job else self.workload.key


def identify(certificate: bytes | None, scopes: Scopes | None, now: datetime) -> Caller:
    """The caller with a certificate that TLS verified; raises UNAVAILABLE, UNAUTHENTICATED or DENIED.

    DENIED is an RevokedError where it is that, and no single certificate, which is revoked.
    """
    # 1. No state before truth: what is not loaded yet denies nobody and serves nobody.
    if scopes is None:
        raise RingfenceError(Kind.UNAVAILABLE, "the server has no intent in force yet")
    # 2. There is a certificate, and exactly one URI in it, which is a SPIFFE ID.
    if certificate is None:
        raise RingfenceError(Kind.UNAUTHENTICATED, "this call needs a client certificate")
    svid = parse_svid((certificate,))
    serial = serial_of(x509.load_der_x509_certificate(certificate).serial_number)
    return _judge(svid.spiffe_id, svid.not_after, serial, scopes, now)


def identify_again(caller: Caller, scopes: Scopes | None, now: datetime) -> Caller:
    """*caller* as of now, without reading its certificate again; raises as `identify` does."""
    if scopes is None:
        raise RingfenceError(Kind.UNAVAILABLE, "the server has no intent in force yet")
    return _judge(caller.spiffe_id, caller.not_after, caller.serial, scopes, now)


def _judge(spiffe_id: SpiffeId, not_after: datetime, serial: str, scopes: Scopes, now: datetime) -> Caller:
    # 3. It is valid still: a connection outlives the SVID that it was opened with.
    if not_after <= now:
        raise RingfenceError(Kind.UNAUTHENTICATED, f"the SVID of {spiffe_id} has expired", hint="Reconnect")
    # 4. Neither it nor the identity is revoked.
    if is_revoked(scopes.model.revoked, spiffe_id):
        raise RevokedError(Kind.DENIED, f"{spiffe_id} is revoked")
    if is_revoked(scopes.model.revoked, spiffe_id, serial):
        raise RingfenceError(Kind.DENIED, f"the SVID {serial} of {spiffe_id} is revoked")
    # 5. The ID is of this trust domain and names a workload of the intent; agents and servers have no proxies.
    workload = scopes.workload(spiffe_id)
    if workload is None or spiffe_id.is_reserved:
        raise RingfenceError(
            Kind.DENIED,
            f"the intent has no workload {spiffe_id}",
            hint="Declare the Workload and apply the intent",
        )
    return Caller(spiffe_id, workload, not_after, serial)


def check_claim(node: Node, caller: Caller, workloads: Container[str] = frozenset()) -> None:
    """Refuse a node that calls itself somebody else; raises DENIED. A plain name, of cluster or node, claims nothing.

    *workloads* are the keys of all: an id that begins with one, as a launcher's `team-a/trainer/...`, claims it.
    """
    key = "/".join(node.id.split("/")[:2])
    if key != caller.workload.key and key in workloads:
        raise RingfenceError(Kind.DENIED, f"{caller.spiffe_id} claims to be the workload {key}")
    for claim in (node.cluster, node.id.partition("#")[0]):
        if claim.startswith("spiffe:") and claim != str(caller.spiffe_id):
            raise RingfenceError(Kind.DENIED, f"{caller.spiffe_id} claims to be {claim}")
