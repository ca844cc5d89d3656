"""End users' tokens as frozen values: who issues them, and what a rule asks of one that a proxy has verified.

A token stands beside the caller's identity and never in its place: `from` decides who may show one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringfence.policy.model import Origin

Tokens = Mapping[str, Mapping[str, Any]]  # the claims of each verified token of a request, by the key of its issuer
NONE: Tokens = MappingProxyType({})
SPACED = ("scope",)  # claims that hold several words in one text (RFC 8693 section 4.2)


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where keys are fetched, and for how long they are believed when they cannot be fetched again."""

    uri: str
    ca_pem: str  # whom to trust for the server there; empty: the system's trust store
    max_age: timedelta


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Who signs tokens, with which keys, and for whom they must be meant."""

    namespace: str
    name: str
    issuer: str  # the claim `iss`
    audiences: tuple[str, ...]  # one of them must be in `aud`; sorted
    jwks: str  # a JSON Web Key Set (RFC 7517), public keys only; empty: none is known now, and no token is valid
    origin: Origin = field(compare=False)
    source: KeySource | None = None  # where a server fetches the keys; None: they are written in the intent

    @property
    def key(self) -> str:
        """`namespace/name`, unique among issuers."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A claim that is one of these texts, or a list that has one of them."""

    name: str
    any_of: tuple[str, ...]  # sorted

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether verified *claims* have it; what is neither text nor a list of texts has nothing."""
        found = claims.get(self.name)
        if isinstance(found, str):
            values = found.split(" ") if self.name in SPACED else [found]
        else:
            values = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
        return not set(self.any_of).isdisjoint(values)


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """A valid token of one issuer with all of the claims."""

    issuer: str  # key of the TokenIssuer
    claims: tuple[ClaimMatch, ...]

    def allows(self, tokens: Tokens) -> bool:
        """For an Allow: there is a valid token, and it has the claims."""
        return self.issuer in tokens and self._has(tokens)

    def denies(self, tokens: Tokens) -> bool:
        """For a Deny: there is none, so that nobody escapes by leaving it out, or it has the claims."""
        return self.issuer not in tokens or self._has(tokens)

    def _has(self, tokens: Tokens) -> bool:
        return all(claim.holds(tokens[self.issuer]) for claim in self.claims)

    def __str__(self) -> str:
        wanted = "".join(f" with {claim.name} {' or '.join(claim.any_of)}" for claim in self.claims)
        return f"a valid token of {self.issuer}{wanted}"
