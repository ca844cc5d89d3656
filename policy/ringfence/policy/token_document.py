"""TokenIssuer documents, and what rules ask of tokens: their fields and the checks that need no other document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ringfence.policy.fields import Name, Text, problem
from ringfence.policy.jwks import check_jwks
from ringfence.policy.part import SOME, DocumentPart, Metadata, Part


def _jwks(text: str) -> str:
    try:
        return check_jwks(text)
    except ValueError as error:
        hint = "Write the issuer's public keys as its jwks_uri serves them"
        raise problem("RF1110", f"this is no set of public keys: {error}", hint) from None


class TokenIssuerSpec(Part):
    """Who signs tokens, by which keys, and which tokens are meant for this mesh."""

    issuer: Text
    audiences: Annotated[list[Text], SOME]
    jwks: Annotated[str, Field(min_length=1), AfterValidator(_jwks)]


class TokenIssuerDocument(DocumentPart):
    """An issuer of end users' tokens that rules may name."""

    kind: Literal["TokenIssuer"]
    metadata: Metadata
    spec: TokenIssuerSpec


class JwtRef(Part):
    """A valid token of an issuer, in which each of these claims is, or holds, one of the values."""

    issuer: Name
    namespace: Name | None = None
    claims: Annotated[dict[Text, Annotated[list[Text], SOME]], Field(min_length=1, max_length=32)] | None = None
