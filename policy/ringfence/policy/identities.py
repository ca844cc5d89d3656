"""The identities of one workload: exactly one, or those of the ranks of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import MAX_RANK, RANK
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

T = TypeVar("T")
_ALL = re.compile(r"/ns/([^/]+)/job/([^/]+)/rank/\*")
_ONE = re.compile(rf"/ns/([^/]+)/job/([^/]+)/rank/{RANK}")


@dataclass(frozen=True, slots=True, order=True)
class Ranks:
    """The ranks of a job: `/ns/NAMESPACE/job/JOB/rank/N`, where N is a number of one spelling, up to 999999."""

    trust_domain: TrustDomain
    namespace: str
    job: str

    @property
    def path(self) -> str:
        """What the path of each begins with; its number is the rest."""
        return f"/ns/{self.namespace}/job/{self.job}/rank/"

    @property
    def prefix(self) -> str:
        """The same of the whole SPIFFE ID."""
        return f"{self.trust_domain.id}{self.path}"

    def template(self, held: str) -> str:
        """The template of the path of each, where *held* is the placeholder of its number."""
        return f"{self.path}{{{held}}}"

    @property
    def pattern(self) -> str:
        """What the whole of each matches, and nothing else does: a regular expression (RE2)."""
        return re.escape(self.prefix) + RANK

    def __contains__(self, spiffe_id: SpiffeId) -> bool:
        return ranks_of(spiffe_id) == self

    def __str__(self) -> str:
        """With a star, which no SPIFFE ID has: whoever takes it for one finds nobody."""
        return f"{self.prefix}*"

    def rank(self, number: int) -> SpiffeId:
        """The identity of one rank; raises INVALID for a number that is none."""
        if not 0 <= number <= MAX_RANK:
            raise RingfenceError(Kind.INVALID, f"{number} is no rank of {self.job}", hint=f"From 0 to {MAX_RANK}")
        return SpiffeId(self.trust_domain, f"{self.path}{number}")


Identity = SpiffeId | Ranks


@lru_cache(maxsize=1024)
def identity(text: str) -> Identity:
    """What `str` wrote of one; raises INVALID for anything else."""
    if not text.endswith("*"):
        return SpiffeId.parse(text)
    domain, slash, path = text.removeprefix("spiffe://").partition("/")
    if (found := _ALL.fullmatch(slash + path)) is None or not text.startswith("spiffe://"):
        raise RingfenceError(Kind.INVALID, f"{text!r} is no SPIFFE ID, and not the ranks of a job")
    ranks = Ranks(TrustDomain(domain), *found.groups())
    ranks.rank(0)  # every segment is one of a SPIFFE ID
    return ranks


def ranks_of(spiffe_id: SpiffeId) -> Ranks | None:
    """The ranks among which *spiffe_id* is; None where it is the identity of no rank."""
    found = _ONE.fullmatch(spiffe_id.path)
    return Ranks(spiffe_id.trust_domain, *found.groups()) if found else None


def covers(whole: Identity, one: Identity) -> bool:
    """Whether *one* is *whole*, or the identity of one of its ranks."""
    return one == whole or (isinstance(whole, Ranks) and isinstance(one, SpiffeId) and one in whole)


def named_by(known: Mapping[Identity, T], spiffe_id: SpiffeId) -> T | None:
    """What *known* has for the workload of which *spiffe_id* is, by its identity or by those of its ranks."""
    found = known.get(spiffe_id)
    if found is None and (ranks := ranks_of(spiffe_id)) is not None:
        return known.get(ranks)
    return found
