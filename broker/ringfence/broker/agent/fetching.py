"""The client side of the Workload API for the command line: fetch once or follow, show or write."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc.aio

from ringfence.broker.run.identity import split_der
from ringfence.broker.run.plan import socket_path
from ringfence.broker.status import error_of
from ringfence.certs.broker_address import BrokerAddress
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.svid import parse_svid
from ringfence.proto import workload
from ringfence.proto.client import Client

_HEADER = (workload.SECURITY_HEADER,)
_MANDATORY = ("spiffe_id", "x509_svid", "x509_svid_key", "bundle")  # section 5.2.1; a hint need not be there
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_HINT = "Register it: `ringfence entry create`, or a Workload whose match has this process's selectors"
_REVOKED = "It is given again after `ringfence identity lift`"
_LATE = "`ringfence entry explain PID`, on this node, says what an entry asks for that this process lacks"
_AWAY = "Check the path, and that `ringfence agent run` serves there"


@dataclass(frozen=True, slots=True)
class FetchedSvid:
    """An X.509-SVID as the agent gave it, in PEM; `key` is secret."""

    spiffe_id: str
    chain: str
    key: str = field(repr=False)
    bundle: str
    expires_at: str
    hint: str

    def row(self) -> dict[str, str]:
        """For output; it holds the key."""
        return {
            "spiffe_id": self.spiffe_id,
            "expires_at": self.expires_at,
            "hint": self.hint,
            "x509_svid": self.chain,
            "x509_svid_key": self.key,
            "bundle": self.bundle,
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of the agent: the SVIDs, default first, and the federated bundles in PEM by trust domain."""

    svids: tuple[FetchedSvid, ...]
    federated: Mapping[str, str]


def endpoint(text: str) -> str:
    """The gRPC target of a path or of a SPIFFE endpoint URI; raises INVALID (SPIFFE_Workload_Endpoint.md section 4).

    Our agents serve Unix sockets only, those of others may serve TCP: as for brokers, but by an address, not by a name.
    """
    if not text.startswith("tcp:"):
        return f"unix:{socket_path(text)}"
    try:
        found = BrokerAddress.parse(text)
        ip_address(found.host)
    except (RingfenceError, ValueError):
        raise RingfenceError(
            Kind.INVALID, f"{text} is no Workload API", hint="Write tcp://ADDRESS:PORT, and nothing after it"
        ) from None
    return str(found).removeprefix("tcp://")


@contextmanager
def _explained(socket: str) -> Iterator[None]:
    """A failed call in words; what the agent says of us has a next step."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        found = error_of(error, where=socket)
        raise RingfenceError(found.kind, found.detail, where=found.where or socket, hint=_next_step(found)) from None


def _next_step(found: RingfenceError) -> str:
    if found.kind is Kind.DENIED:
        return _REVOKED if found.detail.endswith("was revoked") else _HINT
    if found.kind is Kind.TIMEOUT:
        return _LATE
    return _AWAY if found.detail.startswith("no answer") else found.hint


async def messages(
    socket: str,
    method: str,
    request: Any,
    timeout: float | None = None,  # noqa: ASYNC109  # the gRPC deadline
) -> AsyncGenerator[Any, None]:
    """The answers to a stream of the Workload API, until it breaks: that raises.

    DENIED: this process has no identity (any more). UNAVAILABLE: the agent is away. *timeout* in seconds, of it all.
    """
    with _explained(socket):
        # A pool of its own: a broken connection to an earlier agent at this path is not taken up again.
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(endpoint(socket), options=options) as channel:
            call = getattr(Client(channel, workload.DESCRIPTOR), method)(request, metadata=_HEADER, timeout=timeout)
            try:
                while (answer := await call.read()) is not _EOF:
                    yield answer
            finally:
                call.cancel()
    raise RingfenceError(Kind.UNAVAILABLE, "the agent ended the stream", where=socket)


async def x509_updates(socket: str, timeout: float | None = None) -> AsyncGenerator[Delivery, None]:  # noqa: ASYNC109
    """All that the agent gives this process, then each change of it; raises as `messages`."""
    async with aclosing(messages(socket, "FetchX509SVID", workload.X509SVIDRequest(), timeout)) as answers:
        async for answer in answers:
            yield delivery(answer)


async def fetch_x509(socket: str, timeout: float) -> list[FetchedSvid]:  # noqa: ASYNC109  # the gRPC deadline
    """The X.509-SVIDs of this process, default first; raises DENIED when it has none. *timeout* in seconds."""
    return list((await fetch_delivery(socket, timeout)).svids)


async def fetch_delivery(socket: str, timeout: float) -> Delivery:  # noqa: ASYNC109  # the gRPC deadline
    """The same with the federated bundles."""
    async with aclosing(x509_updates(socket, timeout)) as updates:
        return await anext(updates)


async def fetch_jwt(
    socket: str,
    audience: Sequence[str],
    spiffe_id: str,
    timeout: float,  # noqa: ASYNC109  # the gRPC deadline
) -> list[dict[str, str]]:
    """The JWT-SVIDs of this process for *audience*; raises DENIED when it has none. *timeout* in seconds."""
    request = workload.JWTSVIDRequest(audience=audience, spiffe_id=spiffe_id)
    with _explained(socket):
        async with grpc.aio.insecure_channel(endpoint(socket)) as channel:
            client = Client(channel, workload.DESCRIPTOR)
            answer = await client.FetchJWTSVID(request, metadata=_HEADER, timeout=timeout)
    return [{"spiffe_id": svid.spiffe_id, "svid": svid.svid, "hint": svid.hint} for svid in answer.svids]


async def fetch_wit(socket: str, spiffe_id: str, timeout: float) -> list[dict[str, str]]:  # noqa: ASYNC109  # as above
    """The WIT-SVIDs of this process with their private keys, which are secret; raises UNIMPLEMENTED, DENIED."""
    request = workload.WITSVIDRequest(spiffe_id=spiffe_id)
    async with aclosing(messages(socket, "FetchWITSVID", request, timeout)) as answers:
        answer = await anext(answers)
    return [
        {"spiffe_id": svid.spiffe_id, "hint": svid.hint, "wit_svid": svid.wit_svid, "wit_svid_key": svid.wit_svid_key}
        for svid in answer.svids
    ]


def write_x509(svids: Iterable[FetchedSvid], folder: Path) -> list[Path]:
    """Write svid.N.pem, svid.N.key (0600) and bundle.N.pem into *folder*; raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for number, svid in enumerate(svids):
        for name, text, mode in (
            (f"svid.{number}.pem", svid.chain, 0o644),
            (f"svid.{number}.key", svid.key, 0o600),
            (f"bundle.{number}.pem", svid.bundle, 0o644),
        ):
            written.append(_write(folder / name, text, mode))
    return written


def write_jwt(svids: Iterable[Mapping[str, str]], folder: Path) -> list[Path]:
    """Write jwt.N.token (0600) into *folder*; raises OSError."""
    return _write_secrets(svids, folder, {"jwt.{}.token": "svid"})


def write_wit(svids: Iterable[Mapping[str, str]], folder: Path) -> list[Path]:
    """Write wit.N.token and its key wit.N.jwk (0600) into *folder*; raises OSError."""
    return _write_secrets(svids, folder, {"wit.{}.token": "wit_svid", "wit.{}.jwk": "wit_svid_key"})


def _write_secrets(svids: Iterable[Mapping[str, str]], folder: Path, names: Mapping[str, str]) -> list[Path]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        _write(folder / name.format(number), svid[member], 0o600)
        for number, svid in enumerate(svids)
        for name, member in names.items()
    ]


def _write(path: Path, text: str, mode: int) -> Path:
    path.unlink(missing_ok=True)  # an older file may have a wider mode
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as file:
        file.write(text)
    return path


def delivery(answer: Any) -> Delivery:
    """What a message says, of the Workload API or of the Broker API; raises INVALID for one without a mandatory field.

    It is discarded whole then (SPIFFE_Workload_API.md section 4.5).
    """
    missing = {name for svid in answer.svids for name in _MANDATORY if not getattr(svid, name)}
    if missing or not answer.svids:
        raise RingfenceError(Kind.INVALID, f"the agent's answer lacks {', '.join(sorted(missing)) or 'svids'}")
    federated = {
        domain.removeprefix("spiffe://"): _pem("CERTIFICATE", split_der(der))
        for domain, der in sorted(answer.federated_bundles.items())
    }
    return Delivery(tuple(_fetched(svid) for svid in answer.svids), federated)


def _fetched(svid: Any) -> FetchedSvid:
    chain = split_der(svid.x509_svid)
    return FetchedSvid(
        svid.spiffe_id,
        _pem("CERTIFICATE", chain),
        _pem("PRIVATE KEY", [svid.x509_svid_key]),
        _pem("CERTIFICATE", split_der(svid.bundle)),
        f"{parse_svid(chain).not_after:%Y-%m-%dT%H:%M:%SZ}",
        svid.hint,
    )


def _pem(label: str, ders: Iterable[bytes]) -> str:
    return "".join(ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", label) for der in ders)
