"""What a server and its signers say to each other: JSON in frames, so that neither can make the other run anything.

A frame is a length (4 bytes, big-endian) and that many bytes. Binary values are base64, times Unix seconds.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ringfence.broker.keys.choice import Unlocked
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft
from ringfence.certs.spiffe_id import SpiffeId

HEADER = struct.Struct(">I")
MAX_FRAME = 16 << 20  # bytes; 500 drafts are 0.3 MB


def frame(message: Any) -> bytes:
    """*message*, JSON values, as it is sent."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEADER.pack(len(body)) + body


def unframe(body: bytes) -> dict[str, Any]:
    """The message in the body of a frame; raises ValueError for what is none."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")  # noqa: TRY004 - one kind of error for all that is no message
    return message


def binary(value: bytes) -> str:
    """Bytes as text."""
    return b64encode(value).decode("ascii")


def unbinary(value: str) -> bytes:
    """And back."""
    return b64decode(value, validate=True)


def say_keys(keys: Unlocked) -> dict[str, Any]:
    """A key manager with its secret: for the pipe, and for nothing else."""
    return {
        "manager": keys.manager,
        "folder": str(keys.folder),
        "secret": None if keys.secret is None else binary(keys.secret),
        "module": None if keys.module is None else str(keys.module),
        "token": keys.token,
        "owner": keys.owner,
    }


def hear_keys(said: dict[str, Any]) -> Unlocked:
    """The key manager that `say_keys` said."""
    return Unlocked(
        manager=said["manager"],
        folder=Path(said["folder"]),
        secret=None if said["secret"] is None else unbinary(said["secret"]),
        module=None if said["module"] is None else Path(said["module"]),
        token=said["token"],
        owner=said["owner"],
    )


def say_draft(draft: LeafDraft) -> list[Any]:
    """A draft, field by field."""
    return [
        str(draft.spiffe_id),
        binary(draft.spki),
        f"{draft.serial:x}",
        int(draft.not_before.timestamp()),
        int(draft.not_after.timestamp()),
        draft.dns_names,
        [str(address) for address in draft.ip_addresses],
    ]


def hear_draft(said: list[Any]) -> LeafDraft:
    """The draft that `say_draft` said; raises INVALID for what is none."""
    spiffe_id, spki, serial, begins, ends, dns_names, addresses = said
    return LeafDraft(
        spiffe_id=SpiffeId.parse(spiffe_id),
        public_key=hear_key(spki),
        serial=int(serial, 16),
        not_before=datetime.fromtimestamp(begins, UTC),
        not_after=datetime.fromtimestamp(ends, UTC),
        dns_names=tuple(dns_names),
        ip_addresses=tuple(map(ip_address, addresses)),
    )


def say_key(key: ec.EllipticCurvePublicKey) -> str:
    """A public key."""
    return binary(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def hear_key(said: str) -> ec.EllipticCurvePublicKey:
    """The public key that `say_key` said; raises INVALID for one of another kind."""
    key = load_der_public_key(unbinary(said))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RingfenceError(Kind.INVALID, "this is no elliptic curve key")
    return key


def say_error(error: RingfenceError) -> dict[str, str]:
    """Why something is refused."""
    return {"kind": error.kind.value, "detail": error.detail, "hint": error.hint}


def hear_error(said: dict[str, str]) -> RingfenceError:
    """The error that `say_error` said."""
    return RingfenceError(Kind(said["kind"]), said["detail"], hint=said["hint"])
