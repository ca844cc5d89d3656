"""What entries the jobs of a Slurm cluster are to have, and which are put right, left or taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.entry import Entry
from ringfence.broker.slurm.entries import Changes, Site, changes
from ringfence.broker.slurm.jobs import Job, Stage
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

NOW = 1_800_000_000
SITE = Site(
    TrustDomain("example.org"),
    "hpc",
    {"team-a": ("/ns/team-a/slurm/%j", "/ns/team-a/slurm/%j/step/{slurm.step}")},
    {"n1": "/ringfence/agent/x509pop/1", "n2": "/ringfence/agent/x509pop/2"},
)
JOB = Job(7, 1000, "team-a", Stage.LIVE, NOW + 3600, "n[1-2]")


def registered(site: Site, *jobs: Job, now: int = NOW) -> list[Entry]:
    """What the server holds once *jobs* are registered."""
    return [replace(entry, id=f"e{n}") for n, entry in enumerate(changes(site, jobs, [], now).apply)]


def test_a_job_has_its_identities_on_its_nodes_and_nowhere_else() -> None:
    """Each of its group's, each of its nodes; bound to its number and its user, until its limit."""
    made = changes(SITE, [JOB], [], NOW).apply

    assert {(entry.name, entry.parent_id.path) for entry in made} == {
        (f"spiffe://example.org/ns/team-a/slurm/7{step}", f"/ringfence/agent/x509pop/{node}")
        for step in ("", "/step/{slurm.step}")
        for node in (1, 2)
    }
    assert {tuple(map(str, entry.selectors)) for entry in made} == {("slurm:job_id:7", "unix:uid:1000")}
    assert {(entry.expires_at, entry.hint, entry.admin) for entry in made} == {(NOW + 3780, "slurm:hpc", False)}


def test_a_group_that_no_line_names_gets_nothing() -> None:
    """The default is no identity."""
    assert changes(SITE, [replace(JOB, group="others")], [], NOW) == Changes((), ())


def test_the_same_again_changes_nothing() -> None:
    """A prolog that runs twice, or a sync beside it."""
    assert changes(SITE, [JOB], registered(SITE, JOB), NOW + 60) == Changes((), ())


def test_a_job_that_is_gone_loses_all_of_them() -> None:
    """It is not listed any more, or as one that has no processes."""
    held = registered(SITE, JOB)
    ids = tuple(entry.id for entry in held)

    assert changes(SITE, [], held, NOW) == Changes((), ids)
    assert changes(SITE, [replace(JOB, stage=Stage.AWAY)], held, NOW) == Changes((), ids)


def test_a_requeued_job_loses_the_nodes_that_it_left() -> None:
    """It has its number again, on other nodes."""
    held = registered(SITE, JOB)
    done = changes(SITE, [replace(JOB, nodes="n2")], held, NOW)

    assert done.apply == ()
    assert {entry.parent_id.path for entry in held if entry.id in done.delete} == {"/ringfence/agent/x509pop/1"}


def test_a_job_that_ends_keeps_its_identities_for_the_grace_alone() -> None:
    """What saves a last checkpoint has them; they get no new one and none for longer."""
    held = registered(SITE, JOB)
    ended = replace(JOB, stage=Stage.ENDING, ends_at=NOW, nodes="")
    done = changes(SITE, [ended], held, NOW + 5)

    assert done.delete == ()
    assert {entry.expires_at for entry in done.apply} == {NOW + 180}
    assert len(done.apply) == len(held)
    assert changes(SITE, [ended], [], NOW) == Changes((), ())
    assert changes(SITE, [ended], held, NOW + 180) == Changes((), tuple(entry.id for entry in held))
    sooner = [replace(entry, expires_at=NOW + 20) for entry in held]
    assert changes(SITE, [ended], sooner, NOW) == Changes((), ())


def test_a_limit_that_was_moved_moves_the_end() -> None:
    """`scontrol update TimeLimit`, found by the next sync."""
    done = changes(SITE, [replace(JOB, ends_at=NOW + 7200)], registered(SITE, JOB), NOW)

    assert {entry.expires_at for entry in done.apply} == {NOW + 7380}


def test_a_job_over_its_limit_lives_from_sync_to_sync() -> None:
    """OverTimeLimit lets it; its end is never in the past."""
    done = changes(SITE, [replace(JOB, ends_at=NOW - 600)], [], NOW)

    assert {entry.expires_at for entry in done.apply} == {NOW + 180}


def test_an_end_that_is_about_right_stays() -> None:
    """Slurm counts a job's time from the end of its prolog: no sync writes every entry anew for those seconds."""
    held = registered(SITE, JOB)

    for seconds, moved in ((90, False), (-90, False), (91, True), (-91, True)):
        done = changes(SITE, [replace(JOB, ends_at=JOB.ends_at + seconds)], held, NOW)
        assert bool(done.apply) is moved


def test_a_job_without_a_limit_is_renewed_at_half() -> None:
    """And not at every sync, which would be a change each."""
    endless = replace(JOB, ends_at=0)
    held = registered(SITE, endless)
    week = 7 * 86_400

    assert {entry.expires_at for entry in held} == {NOW + week}
    assert changes(SITE, [endless], held, NOW + week // 2) == Changes((), ())
    renewed = changes(SITE, [endless], held, NOW + week // 2 + 1)
    assert {entry.expires_at for entry in renewed.apply} == {NOW + week // 2 + 1 + week}


def test_another_job_of_the_number_is_another_user() -> None:
    """Two clusters may share a number: with another user it is not the same entry."""
    held = registered(SITE, JOB)
    done = changes(SITE, [replace(JOB, uid=1001)], held, NOW)

    assert len(done.delete) == len(held)
    assert {str(entry.selectors[1]) for entry in done.apply} == {"unix:uid:1001"}


@pytest.mark.parametrize("nodes", ["n3", "n[1-3]", ""])
def test_a_node_without_an_agent_is_an_error(nodes: str) -> None:
    """Never an entry for every agent instead."""
    with pytest.raises(RingfenceError) as refused:
        changes(SITE, [replace(JOB, nodes=nodes)], [], NOW)

    assert refused.value.kind is Kind.NOT_FOUND
    assert "job 7" in refused.value.detail


def test_without_a_table_of_nodes_every_agent_may_give_them() -> None:
    """One entry an identity."""
    made = changes(replace(SITE, agents={}), [JOB], [], NOW).apply

    assert [entry.parent_id.path for entry in made] == ["/ringfence/nodes"] * 2


def test_what_can_be_no_identity_is_refused() -> None:
    """Before anything is sent."""
    site = replace(SITE, tenants={"team-a": ("/ns/team-a/{slurm.name}",)})

    with pytest.raises(RingfenceError):
        changes(site, [JOB], [], NOW)


jobs = st.builds(
    Job,
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from(["team-a", "others"]),
    st.sampled_from(Stage),
    st.sampled_from([0, NOW - 100, NOW + 10, NOW + 3600]),
    st.sampled_from(["n1", "n2", "n[1-2]"]),
)


@given(st.lists(jobs, max_size=4, unique_by=lambda job: job.number), st.lists(jobs, max_size=4))
def test_one_step_leads_there_from_anywhere(now_there: list[Job], before: list[Job]) -> None:
    """Whatever was held: after the changes a second look finds nothing to do, and nobody has more than a live job's."""
    held = {entry.key: replace(entry, id=f"e{n}") for n, entry in enumerate(changes(SITE, before, [], NOW).apply)}
    done = changes(SITE, now_there, list(held.values()), NOW)
    kept = [entry for entry in held.values() if entry.id not in done.delete]
    after = {entry.key: entry for entry in kept} | {entry.key: replace(entry, id="x") for entry in done.apply}

    assert changes(SITE, now_there, list(after.values()), NOW) == Changes((), ())
    running = {job.number for job in now_there if job.stage is not Stage.AWAY and job.group == "team-a"}
    had = {job.number for job in before}
    numbers = {int(str(entry.selectors[0]).rpartition(":")[2]) for entry in after.values()}
    assert numbers <= running | had
    assert not numbers & {job.number for job in now_there if job.stage is Stage.AWAY}
