"""Callers for tests, by what they may do."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.broker.access.rights import Caller, Rights, Subject
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
ROOT = Caller(Subject("uid:0 pid:1", uid=0), Rights(admin=True))


def editor(*namespaces: str, privileged: Iterable[str] = ()) -> Caller:
    """An editor of *namespaces*, known by an SVID, where the paths *privileged* have rights of their own."""
    spiffe_id = SpiffeId(TD, "/ns/team-a/sa/deployer")
    held = tuple(privileged)
    subject = Subject(str(spiffe_id), spiffe_id=spiffe_id)
    return Caller(subject, Rights(edits=frozenset(namespaces)), lambda: held)


def viewer(*namespaces: str) -> Caller:
    """A viewer of *namespaces*, or (none) of all."""
    rights = Rights(views=frozenset(namespaces), views_all=not namespaces)
    return Caller(Subject("uid:1001 pid:7", uid=1001, gid=1001), rights)
