"""The tree's own X.509 SVID from the Workload API, as what a gRPC channel needs (SPIFFE_Workload_API.md, 5)."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from ringfence.broker.run.plan import Who
from ringfence.broker.run.refusal import refusal
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto import workload
from ringfence.proto.client import client_call

_SEQUENCE, _LONG_FORM = 0x30, 0x80
_PEM_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """One SVID in PEM; the key stays in memory."""

    spiffe_id: str
    chain: bytes
    bundle: bytes
    key: bytes = field(repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        """Mutual TLS with this SVID against this bundle."""
        return grpc.ssl_channel_credentials(self.bundle, self.key, self.chain)


async def fetch_identity(socket: str, who: Who, *, patience: float) -> Identity:
    """The SVID of *who*; raises TIMEOUT when none came within *patience* seconds, DENIED when another one came."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = client_call(channel, workload.DESCRIPTOR.methods_by_name["FetchX509SVID"])(
            workload.X509SVIDRequest(), metadata=[workload.SECURITY_HEADER]
        )
        try:
            async with asyncio.timeout(patience):
                return await _own(call, who, socket)
        except TimeoutError:
            raise RingfenceError(
                Kind.TIMEOUT,
                f"no SVID for {who} within {patience:g} s",
                where=socket,
                hint="`ringfence entry list` shows whether the server knows it",
            ) from None
        except grpc.aio.AioRpcError as error:
            hints = {Kind.DENIED: f"No entry matches: is Workload {who} applied, with this user under spec.launch.by?"}
            raise refusal(error, f"the agent gives no SVID for {who}", where=socket, hints=hints) from None
        finally:
            call.cancel()


async def _own(call: Any, who: Who, socket: str) -> Identity:
    """Wait for the answer that holds the SVID of *who*: others may match the same process, and come first."""
    seen: list[str] = []
    async for answer in call:
        seen = [svid.spiffe_id for svid in answer.svids]
        for svid in answer.svids:
            if svid.spiffe_id.removeprefix("spiffe://").partition("/")[2] == who.path.removeprefix("/"):
                return Identity(
                    svid.spiffe_id,
                    chain=b"".join(_pem("CERTIFICATE", der) for der in split_der(svid.x509_svid)),
                    bundle=b"".join(_pem("CERTIFICATE", der) for der in split_der(svid.bundle)),
                    key=_pem("PRIVATE KEY", svid.x509_svid_key),
                )
    raise RingfenceError(
        Kind.DENIED,
        f"the agent gave {', '.join(seen) or 'nothing'}, and no SVID for {who}",
        where=socket,
    )


def split_der(data: bytes) -> list[bytes]:
    """The certificates of a concatenation (X.690 8.1: tag, length, content); raises INVALID when it is none."""
    parts = []
    while data:
        end = _end_of_first(data)
        if data[0] != _SEQUENCE or not 2 < end <= len(data):  # noqa: PLR2004  # the shortest header
            raise RingfenceError(Kind.INVALID, "the agent sent something that is no chain of certificates")
        parts.append(data[:end])
        data = data[end:]
    return parts


def _end_of_first(data: bytes) -> int:
    first = data[1] if len(data) > 1 else 0
    if first < _LONG_FORM:
        return 2 + first
    octets = first - _LONG_FORM
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[i : i + _PEM_WIDTH] for i in range(0, len(text), _PEM_WIDTH)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----\n".encode()])
