"""TokenIssuer documents, and what rules ask of tokens: their fields and the checks that need no other document."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ringfence.policy.fields import Duration, HttpsUri, Name, Text, problem
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
    jwks: Annotated[str, Field(min_length=1), AfterValidator(_jwks)] | None = None
    jwks_file: Annotated[str, Field(min_length=1)] | None = None
    jwks_uri: HttpsUri | None = None
    jwks_max_age: Duration | None = None
    ca: Annotated[str, Field(min_length=1)] | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.jwks, self.jwks_file, self.jwks_uri)) != 1:
            hint = "Write one of jwks, jwksFile and jwksUri"
            raise problem("RF1104", "an issuer has its keys from one place", hint)
        if self.jwks_uri is None and (self.jwks_max_age or self.ca or self.ca_file):
            raise problem("RF1104", "jwksMaxAge, ca and caFile are for keys that are fetched", "Leave them out")
        if self.ca is not None and self.ca_file is not None:
            raise problem("RF1109", "there is both ca and caFile", "Write one of the two")
        return self


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
