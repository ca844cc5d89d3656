"""Roles, the grants that give them and the caller they are given to; pure, and without a grant nothing is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ringfence.certs.spiffe_id import SpiffeId


class Role(Enum):
    """What a grant gives; each includes what the one before it may."""

    VIEWER = "viewer"  # reads: of its namespaces, or of all
    EDITOR = "editor"  # changes registrations and intent of its namespaces
    ADMIN = "admin"  # everything


@dataclass(frozen=True, slots=True)
class Subject:
    """Who calls, as the kernel, TLS or a token's issuer vouches for it; `name` is what the audit log has."""

    name: str
    uid: int | None = None
    gid: int | None = None
    spiffe_id: SpiffeId | None = None
    issuer: str = ""
    claims: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of the token, `sub` among them


@dataclass(frozen=True, slots=True)
class Match:
    """Whom a grant is for. All that is given must fit; one that gives nothing fits nobody."""

    uid: int | None = None
    gid: int | None = None
    spiffe_id: SpiffeId | None = None
    issuer: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)

    def fits(self, subject: Subject) -> bool:
        """Whether *subject* is meant."""
        asked = [
            wanted == found
            for wanted, found in (
                (self.uid, subject.uid),
                (self.gid, subject.gid),
                (self.spiffe_id, subject.spiffe_id),
            )
            if wanted is not None
        ]
        if self.issuer:
            asked.append(self.issuer == subject.issuer)
            asked += [value in subject.claims.get(name, ()) for name, value in self.claims.items()]
        return bool(asked) and all(asked)


@dataclass(frozen=True, slots=True)
class Grant:
    """One role, for some; an editor's has namespaces, a viewer's may (none: all of them), an admin's has none."""

    role: Role
    match: Match
    namespaces: frozenset[str] = frozenset()
    name: str = ""  # where it stands: access.grant[0]


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do. A namespace is named; the empty one stands for what belongs to no namespace."""

    admin: bool = False
    edits: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()
    views_all: bool = False
    because: tuple[str, ...] = ()

    def changes(self, namespace: str) -> bool:
        """Whether registrations and intent of *namespace* may be changed."""
        return self.admin or namespace in self.edits

    def sees(self, namespace: str) -> bool:
        """Whether what is in *namespace* may be read."""
        return self.sees_all or namespace in self.edits or namespace in self.views

    @property
    def is_none(self) -> bool:
        """Whether it is no role at all."""
        return not (self.admin or self.views_all or self.edits or self.views)

    @property
    def sees_all(self) -> bool:
        """Whether everything may be read, also what belongs to no namespace."""
        return self.admin or self.views_all

    def __str__(self) -> str:
        if self.admin:
            return "admin"
        roles = [f"editor of {name}" for name in sorted(self.edits)]
        roles += (
            ["viewer of all namespaces"] if self.views_all else [f"viewer of {name}" for name in sorted(self.views)]
        )
        return ", ".join(roles) or "no role"


ADMIN = Rights(admin=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody and what they may do."""

    subject: Subject
    rights: Rights
    privileged: Callable[[], Iterable[str]] = tuple  # paths of identities that have rights of their own


def rights_of(subject: Subject, grants: Iterable[Grant]) -> Rights:
    """The sum of what *grants* give *subject*: nothing, unless one fits."""
    fitting = [grant for grant in grants if grant.match.fits(subject)]
    viewers = [grant for grant in fitting if grant.role is Role.VIEWER]
    return Rights(
        admin=any(grant.role is Role.ADMIN for grant in fitting),
        edits=frozenset().union(*(grant.namespaces for grant in fitting if grant.role is Role.EDITOR)),
        views=frozenset().union(*(grant.namespaces for grant in viewers)),
        views_all=any(not grant.namespaces for grant in viewers),
        because=tuple(grant.name for grant in fitting if grant.name),
    )
