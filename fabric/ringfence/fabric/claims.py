"""Whether a node's claim that a workload of it takes part in a job on a fabric stands: judged in steps; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.fabrics import Fabric, FabricGrant, Plane
from ringfence.policy.model import Model
from ringfence.policy.scope import matches, source_prefix

MOST_ADDRESSES = 128  # of one claim: the interfaces of a node on one fabric, twice
JobOn = tuple[str, str]  # a fabric's key and a job's


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """What an agent says: a live attested workload of its node takes part, with the node's own addresses there."""

    agent: str  # SPIFFE ID
    fabric: str  # NAMESPACE/NAME
    job: str  # NAMESPACE/JOB
    spiffe_id: str
    entry_id: str  # that gives the identity; of a rule ID#PATH
    addresses: tuple[str, ...]  # sorted, each once

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What makes it the same claim whatever its addresses are."""
        return self.agent, self.fabric, self.job, self.spiffe_id, self.entry_id

    @property
    def job_on(self) -> JobOn:
        """The job on the fabric."""
        return self.fabric, self.job

    @property
    def tenant(self) -> str:
        """The namespace of the job."""
        return self.job.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Leave:
    """What intent gives leave for at one moment."""

    trust_domain: TrustDomain | None = None
    fabrics: Mapping[str, Fabric] = field(default_factory=lambda: MappingProxyType({}))  # of the plane of collectives
    grants: Mapping[JobOn, tuple[FabricGrant, ...]] = field(default_factory=lambda: MappingProxyType({}))  # in force

    @classmethod
    def of(cls, model: Model | None, now: datetime) -> Leave:
        """What *model* gives; without one there is none."""
        if model is None:
            return cls()
        grants: dict[JobOn, tuple[FabricGrant, ...]] = {}
        for _, grant in sorted(model.fabric_grants.items()):
            if grant.in_force(now):
                grants[grant.fabric, grant.job_key] = (*grants.get((grant.fabric, grant.job_key), ()), grant)
        fabrics = {key: one for key, one in sorted(model.fabrics.items()) if one.plane is Plane.FABRIC}
        return cls(model.mesh.trust_domain, fabrics, grants)

    def spelled(self, source: Source) -> str:
        """The identities that *source* means: one, or with a star at its end all that begin so."""
        if source.identity is not None:
            return str(source.identity)
        return f"{source_prefix(source, self._domain)}*"

    def means(self, grant: FabricGrant, spiffe_id: SpiffeId) -> bool:
        """Whether *spiffe_id* is among the identities of *grant*."""
        return any(matches(source, spiffe_id, self._domain) for source in grant.sources)

    @property
    def _domain(self) -> TrustDomain:
        if self.trust_domain is None:
            raise RingfenceError(Kind.DENIED, "no intent is in force", hint="Apply one: `ringfence policy apply`")
        return self.trust_domain


# The identity that the claim's agent may give by the claim's entry, and the end of that (Unix seconds, 0: none);
# raises DENIED where it may not.
Given = Callable[[Claim], tuple[SpiffeId, int]]


def judge(claim: Claim, leave: Leave, given: Given) -> int:
    """Until when *claim* may stand at most, Unix seconds.

    Raises NOT_FOUND, DENIED or INVALID, naming what is missing; what nothing gives leave for does not stand.
    """
    # 1. The fabric is declared, and for collectives.
    fabric = leave.fabrics.get(claim.fabric)
    if fabric is None:
        hint = "Declare it: `ringfence policy get` lists what is in force"
        raise RingfenceError(Kind.NOT_FOUND, f"there is no fabric {claim.fabric} of the plane fabric", hint=hint)
    # 2. A grant in force lets the job use it.
    grants = leave.grants.get(claim.job_on, ())
    if not grants:
        detail = f"no grant in force lets job {claim.job} use fabric {claim.fabric}"
        raise RingfenceError(Kind.DENIED, detail, hint="Write a FabricGrant for it, or a later `expires`")
    # 3. The identity is among those of the grant.
    spiffe_id = SpiffeId.parse(claim.spiffe_id)
    ends = [int(grant.expires.timestamp()) for grant in grants if leave.means(grant, spiffe_id)]
    if not ends:
        names = ", ".join(grant.key for grant in grants)
        raise RingfenceError(
            Kind.DENIED,
            f"{spiffe_id} is not among the identities of job {claim.job} on fabric {claim.fabric}",
            hint=f"Name its workload in the grant {names}",
        )
    # 4. The agent is admitted and may give that entry, nobody has revoked the identity, and the entry has not ended.
    found, entry_ends = given(claim)
    # 5. It gives the identity that is claimed, and no other.
    if found != spiffe_id:
        raise RingfenceError(Kind.DENIED, f"entry {claim.entry_id} gives {found}, and not {spiffe_id}")
    # 6. The addresses are the fabric's.
    _check_addresses(claim, fabric)
    return min(max(ends), entry_ends or max(ends))


def _check_addresses(claim: Claim, fabric: Fabric) -> None:
    if len(claim.addresses) > MOST_ADDRESSES:
        detail = f"{len(claim.addresses)} addresses are claimed at once, more than {MOST_ADDRESSES}"
        raise RingfenceError(Kind.EXHAUSTED, detail, hint="Name fewer interfaces in the fabric")
    for text in claim.addresses:
        if not _is_within(text, fabric.cidrs):
            known = ", ".join(fabric.cidrs) or "none"
            detail = f"{text:.60} is no address of fabric {fabric.key}, whose networks are {known}"
            raise RingfenceError(Kind.DENIED, detail, hint="Correct `cidrs`, or the node's address")


@lru_cache(maxsize=8192)  # every claim is judged at every change
def _is_within(text: str, cidrs: tuple[str, ...]) -> bool:
    """Whether *text* is an address in one of *cidrs*; raises INVALID for what is no address.

    In one spelling and without a zone: it is a set's element, and what one node owns no other one spells otherwise.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise RingfenceError(Kind.INVALID, f"{text!r:.60} is no IP address") from None
    return str(address) == text and "%" not in text and any(address in ip_network(cidr) for cidr in cidrs)
