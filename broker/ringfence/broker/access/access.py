"""The access that a server was told to give: grants, issuers whose tokens it takes, and who has which rights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ringfence.broker.access.rights import ADMIN, Caller, Grant, Match, Rights, Role, Subject, rights_of
from ringfence.broker.registry import Registry
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """An OIDC provider whose tokens are taken, for `audience`; keys from a file, or else by discovery."""

    url: str
    audience: str
    algorithms: tuple[str, ...]
    keys: Path | None = None  # a JWK set
    roots: Path | None = None  # PEM, who vouches for its host; None: the system's


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """The table `[access]`. `network`: whether the admin API is on --listen too."""

    network: bool = False
    grants: tuple[Grant, ...] = ()
    issuers: tuple[IssuerConfig, ...] = ()

    @property
    def is_local_open(self) -> bool:
        """Whether users beside the server's own and root may come by the socket."""
        return any(grant.match.uid is not None or grant.match.gid is not None for grant in self.grants)


def own_grants() -> tuple[Grant, ...]:
    """What holds without any configuration: root and the server's own user are admins."""
    return tuple(
        Grant(Role.ADMIN, Match(uid=uid), name=why)
        for uid, why in {0: "it is root", os.geteuid(): "it is the server's own user"}.items()
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Gives everybody their rights, from the configuration and from entries with the flag `admin`."""

    config: AccessConfig
    registry: Registry
    own: tuple[Grant, ...] = field(default_factory=own_grants)  # the server's user is who started it

    @property
    def grants(self) -> tuple[Grant, ...]:
        """All of them."""
        return (*self.own, *self.config.grants)

    def rights_of(self, subject: Subject, now: float) -> Rights:
        """What *subject* may do at *now*, Unix seconds; nothing, unless something says so."""
        found = rights_of(subject, self.grants)
        if subject.spiffe_id is not None and not found.admin:
            for entry_id in self._admin_entries(subject.spiffe_id, now):
                return replace(ADMIN, because=(*found.because, f"entry {entry_id}"))
        return found

    def caller(self, subject: Subject, now: float) -> Caller:
        """*subject* with its rights."""
        return Caller(subject, self.rights_of(subject, now), self.privileged)

    def privileged(self) -> Iterator[str]:
        """The paths of identities that may do what an editor may not hand out: whoever has the name has the right."""
        for entry in self.registry.every():
            if entry.admin or entry.downstream:
                yield entry.template or entry.spiffe_id.path
        for grant in self.grants:
            if grant.match.spiffe_id is not None:
                yield grant.match.spiffe_id.path

    def _admin_entries(self, spiffe_id: SpiffeId, now: float) -> Iterator[str]:
        """Entries that make whoever has *spiffe_id* an admin, as SPIRE's do."""
        for entry in self.registry.every():
            if not entry.admin or entry.has_ended(now) or entry.spiffe_id.trust_domain != spiffe_id.trust_domain:
                continue
            if entry.spiffe_id == spiffe_id or (
                entry.template and PathTemplate.parse(entry.template).selectors(spiffe_id.path) is not None
            ):
                yield entry.id
