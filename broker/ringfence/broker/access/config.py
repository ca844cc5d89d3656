"""The table `[access]` of the server's configuration, checked once: grants, and the issuers whose tokens are taken."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ringfence.broker.access.access import AccessConfig, IssuerConfig
from ringfence.broker.access.rights import Grant, Match, Role
from ringfence.broker.access.tokens import ALGORITHMS, DEFAULT_ALGORITHMS
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.oidc import check_issuer
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_Id = Annotated[int, Field(ge=0, lt=2**32 - 1)]
_Text = Annotated[str, Field(min_length=1, max_length=2048)]
_Namespace = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,253}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Unix(_Part):
    uid: _Id | None = None
    gid: _Id | None = None
    user: _Text | None = None

    @model_validator(mode="after")
    def _says_whom(self) -> Self:
        if self.uid is None and self.gid is None and self.user is None:
            raise ValueError("give uid, gid or user")
        if self.uid is not None and self.user is not None:
            raise ValueError("give uid or user, not both")
        return self


class _Oidc(_Part):
    issuer: _Text
    claims: Annotated[dict[_Text, _Text], Field(min_length=1)]


class _Grant(_Part):
    role: Literal["admin", "editor", "viewer"]
    namespaces: Annotated[list[_Namespace], Field(min_length=1)] | None = None
    unix: _Unix | None = None
    spiffe_id: _Text | None = None
    oidc: _Oidc | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sum(each is not None for each in (self.unix, self.spiffe_id, self.oidc)) != 1:
            raise ValueError("give exactly one of unix, spiffe_id and oidc: for whom it is")
        if self.role == "editor" and self.namespaces is None:
            raise ValueError("an editor has namespaces")
        if self.role == "admin" and self.namespaces is not None:
            raise ValueError("an admin has no namespaces: use the role editor")
        return self


class _Issuer(_Part):
    url: _Text
    audience: _Text
    algorithms: Annotated[list[_Text], Field(min_length=1)] = list(DEFAULT_ALGORITHMS)
    keys: _Text | None = None
    roots: _Text | None = None

    @model_validator(mode="after")
    def _signs_safely(self) -> Self:
        if stray := [name for name in self.algorithms if name not in ALGORITHMS]:
            raise ValueError(f"{stray[0]} is none of {', '.join(ALGORITHMS)}")
        return self


class _Access(_Part):
    network: bool = False
    grant: list[_Grant] = []
    issuer: list[_Issuer] = []


def access_of(given: Mapping[str, Any], trust_domain: TrustDomain) -> AccessConfig:
    """What *given* says; raises INVALID naming the first setting that is wrong."""
    try:
        read = _Access.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        unknown = first["type"] == "extra_forbidden"
        said = "there is no such setting" if unknown else str(first["msg"]).removeprefix("Value error, ")
        raise _invalid(_place(first["loc"]), said) from None
    issuers = tuple(_issuer(each, f"access.issuer[{i}]") for i, each in enumerate(read.issuer))
    urls = [issuer.url for issuer in issuers]
    if len(set(urls)) < len(urls):
        raise _invalid("access.issuer", "an issuer is given twice")
    grants = tuple(_grant(each, f"access.grant[{i}]", trust_domain, urls) for i, each in enumerate(read.grant))
    for grant in grants:
        if grant.match.uid is None and grant.match.gid is None and not read.network:
            raise _invalid(f"{grant.name}", "nobody could use it: the admin API is not on --listen (network = true)")
    return AccessConfig(read.network, grants, issuers)


def _grant(read: _Grant, place: str, trust_domain: TrustDomain, issuers: list[str]) -> Grant:
    if read.unix is not None:
        uid = _uid(read.unix.user, place) if read.unix.user is not None else read.unix.uid
        match = Match(uid=uid, gid=read.unix.gid)
    elif read.oidc is not None:
        if read.oidc.issuer not in issuers:
            raise _invalid(place, f"no [[access.issuer]] has the url {read.oidc.issuer}")
        match = Match(issuer=read.oidc.issuer, claims=read.oidc.claims)
    else:
        match = Match(spiffe_id=_spiffe_id(read.spiffe_id or "", place, trust_domain))
    return Grant(Role(read.role), match, frozenset(read.namespaces or ()), place)


def _spiffe_id(text: str, place: str, trust_domain: TrustDomain) -> SpiffeId:
    found = SpiffeId.parse(text)
    if found.trust_domain != trust_domain or not found.path or found.is_reserved:
        raise _invalid(place, f"{found} is no workload of {trust_domain}")
    return found


def _uid(user: str, place: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise _invalid(place, f"there is no user {user!r} on this machine") from None


def _issuer(read: _Issuer, place: str) -> IssuerConfig:
    try:
        url = check_issuer(read.url.removesuffix("/")) and read.url
    except RingfenceError as error:
        raise _invalid(place, error.detail) from None
    files = {name: Path(text) if text else None for name, text in (("keys", read.keys), ("roots", read.roots))}
    for file in filter(None, files.values()):
        if not file.is_file():
            raise _invalid(place, f"{file} is no file")
    return IssuerConfig(url, read.audience, tuple(read.algorithms), files["keys"], files["roots"])


def _place(location: tuple[int | str, ...]) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return f"access{steps}"


def _invalid(place: str, detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, where=place, hint="See docs/access.md")
