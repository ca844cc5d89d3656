"""NCCL_SOCKET_MAGIC: what NCCL's sockets say first, so that ranks of two jobs do not talk to each other by mistake.

NCCL documents it as a guard against cross talk; it travels in the clear and proves nobody. It is made from a secret, so
that who knows a job's name alone cannot knock.
"""

from __future__ import annotations

import hmac

from ringfence.certs.errors import Kind, RingfenceError

SHORTEST = 16  # bytes of a secret
_PURPOSE = b"ringfence/nccl-socket-magic/v1\0"
_SIGN = (1 << 63) - 1


def socket_magic(secret: bytes, job: str) -> str:
    """The value of *job*, the same on each of its nodes; raises INVALID for a short secret or a job without a name.

    63 bits: NCCL reads it by `strtoll` (`param.cc`), and takes its default, which everybody has, for what is more.
    """
    if len(secret) < SHORTEST:
        detail = f"the secret has {len(secret)} bytes; at least {SHORTEST} are taken"
        raise RingfenceError(Kind.INVALID, detail, hint="Make one: openssl rand -out FILE 32")
    if not job.strip():
        raise RingfenceError(Kind.INVALID, "a job without a name has no magic", hint="Name it")
    made = hmac.digest(secret, _PURPOSE + job.encode(), "sha256")
    return f"{int.from_bytes(made[:8]) & _SIGN:#018x}"
