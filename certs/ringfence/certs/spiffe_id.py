"""SPIFFE IDs and trust domains as values that are valid once built (SPIFFE-ID.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ringfence.certs.errors import Kind, RingfenceError

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[a-zA-Z0-9._-]+)*")  # no segment is empty, `.` or `..` (section 2.2)
MAX_ID_BYTES = 2048

# The DNS SAN of a control plane's certificate. gRPC clients can check a host name only, so whoever had it in a
# certificate could pose as the server: it is certified for `/ringfence/server` and for nobody else.
SERVER_NAME = "ringfence-server"


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """A trust domain by its bare name, `example.org`; raises INVALID for any other spelling (section 2.1)."""

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise RingfenceError(
                Kind.INVALID,
                f"{self.name!r} is no trust domain",
                hint="Use 1 to 255 lower-case letters, digits, dots, dashes and underscores",
            )

    def __str__(self) -> str:
        return self.name

    @property
    def id(self) -> str:
        """The ID of the domain itself, `spiffe://example.org`, without a trailing slash."""
        return _SCHEME + self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A trust domain and a path, `/ns/team-a/sa/trainer`, or the empty path for the domain itself."""

    trust_domain: TrustDomain
    path: str

    def __post_init__(self) -> None:
        _check_path(self.path, self)
        size = len(_SCHEME) + len(self.trust_domain.name) + len(self.path)  # all of it is ASCII by now
        if size > MAX_ID_BYTES:
            raise RingfenceError(Kind.INVALID, f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes, this one {size}")

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """The ID that *text* spells; raises INVALID. Upper case in the trust domain is refused, not folded."""
        if not text.startswith(_SCHEME):
            raise RingfenceError(Kind.INVALID, f"{text!r} is no SPIFFE ID", hint="It starts with spiffe://")
        name, slash, rest = text[len(_SCHEME) :].partition("/")
        return cls(_domain(name), slash + rest)

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain.name}{self.path}"

    @property
    def is_reserved(self) -> bool:
        """Whether the path belongs to Ringfence itself (`/ringfence/...`), never to a workload."""
        return self.path == "/ringfence" or self.path.startswith("/ringfence/")


@lru_cache(maxsize=64)
def _domain(name: str) -> TrustDomain:
    """Checked once, and one value: hardly any are the domains of all the IDs that a server reads."""
    return TrustDomain(name)


def _check_path(path: str, spiffe_id: SpiffeId) -> None:
    if not _PATH.fullmatch(path):
        raise RingfenceError(
            Kind.INVALID,
            f"{path!r} is no path of a SPIFFE ID in {spiffe_id.trust_domain.name}",
            hint="Write /segment/segment with letters, digits, dots, dashes and underscores, and no . or .. segment",
        )
