"""How the Broker API says no: a code, and a google.rpc.ErrorInfo that programs can read (SPIFFE_Broker_API.md 4.8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.rpc import error_details_pb2, status_pb2

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.status import Code, Status

DOMAIN = "spiffe.io"
DETAILS = "grpc-status-details-bin"
REFERENCE_INVALID = "WORKLOAD_REFERENCE_INVALID"
NOT_FOUND = "WORKLOAD_NOT_FOUND"
NOT_ENTITLED = "WORKLOAD_NOT_ENTITLED"


def invalid_reference(detail: str, **metadata: str) -> Status:
    """The reference is missing, malformed, or of a type that is not known here."""
    return _status(Code.INVALID_ARGUMENT, REFERENCE_INVALID, detail, metadata)


def not_found(detail: str, **metadata: str) -> Status:
    """The reference names no workload, or none any more."""
    return _status(Code.NOT_FOUND, NOT_FOUND, detail, metadata)


def not_entitled(detail: str, **metadata: str) -> Status:
    """The workload has no identity, or not the one that was asked for."""
    return _status(Code.PERMISSION_DENIED, NOT_ENTITLED, detail, metadata)


@contextmanager
def of_the_workload() -> Iterator[None]:
    """Turns what ends a stream of the Workload API into what the standard has for a workload that was named."""
    try:
        yield
    except RingfenceError as error:
        # It exited, or is another program or another user's now: what was named is there no more.
        if error.kind in {Kind.DENIED, Kind.NOT_FOUND}:
            raise not_found(error.detail) from None
        raise
    except Status as status:
        if status.code is Code.PERMISSION_DENIED and DETAILS not in status.trailers:
            raise not_entitled(status.message) from None
        raise


def _status(code: Code, reason: str, detail: str, metadata: dict[str, str]) -> Status:
    found = status_pb2.Status(code=int(code), message=detail)
    found.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    return Status(code, detail, {DETAILS: found.SerializeToString(deterministic=True)})
