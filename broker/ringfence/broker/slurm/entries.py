"""From jobs to entries: what each job is to be registered as, and what has to change for that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ringfence.broker.entry import Entry, any_node, check_entry
from ringfence.broker.slurm.jobs import Job, Stage, hosts
from ringfence.broker.slurm.tables import JOB
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class Site:
    """What holds for all jobs of one cluster. Times in seconds."""

    trust_domain: TrustDomain
    cluster: str
    tenants: Mapping[str, tuple[str, ...]]
    agents: Mapping[str, str] = field(default_factory=dict)  # by node; empty: every attested agent may give
    grace: int = 180  # after the end of a job: its processes are told to end, and may still save something
    unlimited: int = 7 * 86_400  # how long entries of a job without a limit last, unless they are renewed

    @property
    def hint(self) -> str:
        """What marks the entries of this cluster: numbers of jobs are unique in one."""
        return f"slurm:{self.cluster}"


@dataclass(frozen=True, slots=True)
class Changes:
    """Entries that are to be as they are here, and ids of those that are to go."""

    apply: tuple[Entry, ...]
    delete: tuple[str, ...]


def changes(site: Site, jobs: Iterable[Job], held: Sequence[Entry], now: int) -> Changes:
    """What makes *held*, the cluster's entries of those jobs, be what *jobs* need. Raises INVALID, NOT_FOUND.

    A held entry whose job is not among *jobs* goes: give all of them, or one and the entries of that one.
    """
    kept = {entry.key: entry for entry in held}
    wanted: dict[str, Entry] = {}
    for job in jobs:
        if job.stage is Stage.LIVE:
            wanted |= {entry.key: entry for entry in _live(site, job, kept, now)}
        elif job.stage is Stage.ENDING:
            wanted |= {entry.key: entry for entry in _ending(site, job, held, now)}
    differ = tuple(entry for key, entry in sorted(wanted.items()) if not _stands(entry, kept.get(key)))
    return Changes(differ, tuple(entry.id for entry in held if entry.key not in wanted))


def _stands(entry: Entry, held: Entry | None) -> bool:
    return held is not None and entry.same_as(held)


def _live(site: Site, job: Job, kept: Mapping[str, Entry], now: int) -> Iterable[Entry]:
    """One for each identity of its group and each of its nodes. A group that no line names has none."""
    for path in site.tenants.get(job.group, ()):
        for parent in _parents(site, job):
            entry = _entry(site, job, path.replace(JOB, str(job.number)), parent)
            yield replace(entry, expires_at=_end(site, job, kept.get(entry.key), now))


def _end(site: Site, job: Job, held: Entry | None, now: int) -> int:
    """By the job's limit and the grace, or what a job without a limit gets; a held end that is about so is kept."""
    wanted = max(job.ends_at, now) + site.grace if job.ends_at else now + site.unlimited
    about = site.grace if job.ends_at else site.unlimited
    # A job's time begins anew when its prolog has ended, so that every end moves by as much once.
    if held is not None and abs(held.expires_at - wanted) <= about // 2:
        return held.expires_at
    return wanted


def _ending(site: Site, job: Job, held: Iterable[Entry], now: int) -> Iterable[Entry]:
    """Those that it has, and no new one: until the grace is over, and never longer than before."""
    ends_at = (job.ends_at or now) + site.grace
    mine = _selectors(job)[0]
    return (
        replace(entry, expires_at=min(entry.expires_at or ends_at, ends_at))
        for entry in held
        if mine in entry.selectors and ends_at > now
    )


def _parents(site: Site, job: Job) -> Sequence[SpiffeId]:
    if not site.agents:
        return [any_node(site.trust_domain)]
    names = hosts(job.nodes)
    unknown = [name for name in names if name not in site.agents]
    if unknown or not names:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"no agent is named for {', '.join(unknown[:5]) or 'any node'} of job {job.number}",
            hint="Add the node and its agent to the file of --nodes",
        )
    return sorted({SpiffeId(site.trust_domain, site.agents[name]) for name in names})


def _entry(site: Site, job: Job, path: str, parent: SpiffeId) -> Entry:
    template = "{" in path
    entry = Entry(
        id="",
        spiffe_id=SpiffeId(site.trust_domain, "" if template else path),
        parent_id=parent,
        selectors=_selectors(job),
        hint=site.hint,
        template=path if template else "",
    )
    return check_entry(entry, site.trust_domain)


def _selectors(job: Job) -> tuple[Selector, Selector]:
    """The job, by its cgroup, and its user: of another user's process a job's number is worth nothing. Sorted."""
    return Selector("slurm", f"job_id:{job.number}"), Selector("unix", f"uid:{job.uid}")
