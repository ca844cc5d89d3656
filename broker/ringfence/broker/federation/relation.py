"""A federation relation: whose bundle is fetched where, and what that endpoint is known by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_MAX_URL = 2048


class Profile(Enum):
    """How an endpoint proves itself (SPIFFE_Federation.md section 5.2)."""

    WEB = "https_web"
    SPIFFE = "https_spiffe"


@dataclass(frozen=True, slots=True)
class Relation:
    """Nothing in it is inferred from anything else (section 7.2). `created_at` in Unix seconds."""

    trust_domain: TrustDomain
    url: str
    profile: Profile
    endpoint_id: SpiffeId | None = None
    created_at: int = 0

    def same_as(self, other: Relation) -> bool:
        """Whether an operator would write both alike."""
        return (self.trust_domain, self.url, self.profile, self.endpoint_id) == (
            other.trust_domain,
            other.url,
            other.profile,
            other.endpoint_id,
        )


def check_relation(relation: Relation, own: TrustDomain) -> Relation:
    """*relation* itself; raises INVALID for one that could not be used safely."""
    # 1. It is another trust domain: nobody else may say what ours trusts.
    if relation.trust_domain == own:
        raise RingfenceError(Kind.INVALID, f"{own} is this server's own trust domain")
    # 2. The URL is https, without a user in it.
    check_url(relation.url)
    # 3. Each profile has its parameters, and no others (sections 5.2.1.1, 5.2.2.1).
    endpoint = relation.endpoint_id
    if relation.profile is Profile.WEB and endpoint is not None:
        raise RingfenceError(Kind.INVALID, "https_web knows no endpoint ID", hint="Leave --endpoint-id out")
    if relation.profile is Profile.SPIFFE and (endpoint is None or not endpoint.path):
        raise RingfenceError(
            Kind.INVALID,
            "https_spiffe needs the SPIFFE ID of the endpoint",
            hint=f"--endpoint-id {relation.trust_domain.id}/ringfence/server, if a Ringfence server is there",
        )
    return relation


def check_bootstrap(relation: Relation, bootstrap: SpiffeBundle | None, known: SpiffeBundle | None) -> None:
    """Raise INVALID unless the endpoint can be verified: by *bootstrap*, or by what is *known* of its trust domain."""
    own_endpoint = relation.endpoint_id is not None and relation.endpoint_id.trust_domain == relation.trust_domain
    if bootstrap is not None and not own_endpoint:
        raise RingfenceError(
            Kind.INVALID,
            "a bootstrap bundle is for an endpoint of the trust domain itself",
            hint="Leave --bootstrap-bundle out; the endpoint's trust domain is set by: ringfence bundle set",
        )
    if relation.profile is Profile.SPIFFE and bootstrap is None and known is None:
        raise RingfenceError(
            Kind.INVALID,
            f"nothing is known to verify {relation.endpoint_id} by",
            hint="Give --bootstrap-bundle FILE, what `ringfence bundle show --format spiffe` prints over there",
        )


def check_same(known: Relation, wanted: Relation) -> None:
    """Raise CONFLICT when *known* is another relation with the same trust domain."""
    if not known.same_as(wanted):
        raise RingfenceError(
            Kind.CONFLICT,
            f"there is a relation with {known.trust_domain} by another URL, profile or endpoint",
            hint=f"Change it: ringfence federation update {known.trust_domain} ...",
        )


def check_url(url: str) -> str:
    """*url* itself, absolute, https, without user or fragment (section 5.2.1.1); raises INVALID."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _refused(url) from None
    plain = url.isascii() and not any(letter <= " " for letter in url) and len(url) <= _MAX_URL
    if parts.scheme != "https" or not host or not plain or "@" in parts.netloc or "#" in url:
        raise _refused(url)
    return url


def _refused(url: str) -> RingfenceError:
    # A password that somebody wrote into it must not be repeated.
    shown = "the URL" if "@" in url else f"{url[:200]!r}"
    return RingfenceError(
        Kind.INVALID, f"{shown} is no URL of a bundle endpoint", hint="https://HOST[:PORT]/PATH, without user or #"
    )
