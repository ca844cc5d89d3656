"""`ringfence fabric leak-test`: did every byte of a collective cross its fabric, and nothing else?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.fabric_options import with_documents
from ringfence.broker.cli.failure import ANSWER_IS_NO, FAILED, OK
from ringfence.broker.cli.output import API_VERSION

if TYPE_CHECKING:
    from ringfence.broker.fabric.leak_job import Watched
    from ringfence.fabric.leak.judge import Part
    from ringfence.fabric.leak.seen import Asked

_TOLERANCE = 1 << 20
_LONGEST = 24 * 3600
_TOOL = "ringfence fabric leak-test"


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": True})
@click.argument("fabric", metavar="FABRIC")
@with_documents
@click.option(
    "--job", required=True, metavar="JOB", help="A job that a FabricGrant in force lets use it: NAMESPACE/JOB, or JOB."
)
@click.option(
    "--pid", "pids", type=click.IntRange(min=1), multiple=True, help="A process of the job that runs already."
)
@click.option(
    "--for", "length", type=DURATION, metavar="DURATION", help="With --pid: how long; default: to their end, or Ctrl-C."
)
@click.option(
    "--tolerance",
    type=click.IntRange(min=0),
    default=_TOLERANCE,
    show_default=True,
    metavar="BYTES",
    help="What rendezvous and chatter may come to, in each part.",
)
@click.option(
    "--proxy-admin",
    "admins",
    multiple=True,
    metavar="ADDRESS",
    help="An Envoy's: /PATH or HOST:PORT; others are found.",
)
@click.option(
    "--fail-on",
    type=click.Choice(("leak", "unproved", "never")),
    default="leak",
    show_default=True,
    help="From which verdict on it ends with 3.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json", "junit")),
    default="text",
    show_default=True,
    help="How to print.",
)
@click.argument("command", metavar="[-- CMD [ARG]...]", nargs=-1, type=click.UNPROCESSED)
def leak_test(
    *,
    fabric: str,
    folder: Path,
    trust_domain: str | None,
    job: str,
    tolerance: int,
    admins: tuple[str, ...],
    fail_on: str,
    output: str,
    **ran: Any,
) -> int:
    """Prove by counters that a job's collective crossed FABRIC alone, and that nothing else crossed FABRIC.

    Runs CMD, or watches processes that run, on this node and in this network namespace, and compares what interfaces,
    sockets, proxies and the fabric's filter counted before and after. What cannot be read leaves its part open. It
    sends nothing and changes nothing. What CMD prints goes to stderr.
    """
    from ringfence.fabric.leak.judge import judge

    asked = _asked(folder, trust_domain, fabric, job, tolerance)
    watched = _watched(asked.fabric, admins, **ran)
    parts = judge(watched.seen, asked)
    click.echo(_printed(parts, asked, watched, output), nl=False)
    if watched.code:
        click.echo(f"the command ended with exit code {watched.code}: what it did not do was not seen", err=True)
    return _exit(parts, fail_on) or (FAILED if watched.code else OK)


def _asked(folder: Path, trust_domain: str | None, name: str, job: str, tolerance: int) -> Asked:
    """What the documents say of the fabric and of the job, on this node; raises NOT_FOUND and DENIED."""
    from datetime import UTC, datetime

    from ringfence.broker.cli.fabric_intent import fabric_of, job_of, model_of
    from ringfence.broker.fabric.sysfs import read_node
    from ringfence.certs.errors import Kind, RingfenceError
    from ringfence.fabric.doctor.bounded import network
    from ringfence.fabric.leak.seen import Asked
    from ringfence.fabric.resolve import interfaces_of

    now = datetime.now(UTC)
    model = model_of(folder, trust_domain, now)
    fabric = fabric_of(model, name)
    key = job_of(model, fabric, job, now)
    interfaces = interfaces_of(fabric, read_node(Path("/sys")))
    if not interfaces:
        detail = f"fabric {fabric.key} has no network interface in this network namespace"
        raise RingfenceError(Kind.NOT_FOUND, detail, hint="Run it where the job runs")
    return Asked(
        fabric=fabric.key,
        job=key,
        interfaces=interfaces,
        networks=tuple(found for cidr in fabric.cidrs if (found := network(cidr))),
        sockets=fabric.kind.seen_by_host,
        tolerance=tolerance,
    )


def _watched(
    fabric: str, admins: tuple[str, ...], *, command: tuple[str, ...], pids: tuple[int, ...], length: int | None
) -> Watched:
    from ringfence.broker.fabric.leak_job import follow, run_command

    if bool(command) == bool(pids):
        raise click.UsageError("name what is to be watched: either -- CMD, or --pid")
    if command and length is not None:
        raise click.UsageError("--for goes with --pid: a command is watched to its end")
    if command:
        return run_command(fabric, command, admins)
    return follow(fabric, pids, _LONGEST if length is None else length, admins)


def _exit(parts: tuple[Part, ...], fail_on: str) -> int:
    from ringfence.fabric.leak.judge import Verdict

    failing = {"leak": {Verdict.LEAK}, "unproved": {Verdict.LEAK, Verdict.OPEN}, "never": set()}[fail_on]
    return ANSWER_IS_NO if any(part.verdict in failing for part in parts) else OK


def _printed(parts: tuple[Part, ...], asked: Asked, watched: Watched, output: str) -> str:
    match output:
        case "json":
            return f"{json.dumps(_listed(parts, asked, watched), indent=2)}\n"
        case "junit":
            return _junit(parts)
        case _:
            return _words(parts, asked, watched)


def _listed(parts: tuple[Part, ...], asked: Asked, watched: Watched) -> dict[str, Any]:
    told = {
        "apiVersion": API_VERSION,
        "kind": "FabricLeakTest",
        "fabric": asked.fabric,
        "job": asked.job,
        "seconds": round(watched.seconds, 1),
        "tolerance": asked.tolerance,
        "items": [
            {
                "part": one.name,
                "claim": one.claim,
                "verdict": one.verdict.value,
                "because": one.because,
                "figures": list(one.figures),
            }
            for one in parts
        ],
        "notes": list(watched.notes),
    }
    return told if watched.code is None else {**told, "exitCode": watched.code}


def _words(parts: tuple[Part, ...], asked: Asked, watched: Watched) -> str:
    head = (
        f"job {asked.job} on fabric {asked.fabric}, {watched.seconds:.1f} s, tolerance {asked.tolerance:,} bytes a part"
    )
    lines = [head]
    for one in parts:
        lines.append(f"{one.verdict.value}: {one.claim}: {one.because}")
        lines += [f"  {figure}" for figure in one.figures]
    lines += [f"note: {note}" for note in watched.notes]
    return "".join(f"{line}\n" for line in lines)


def _junit(parts: tuple[Part, ...]) -> str:
    from ringfence.fabric.leak.judge import Verdict
    from ringfence.policy.reports import junit_suite

    outcomes = {Verdict.PROVED: "passed", Verdict.LEAK: "failed", Verdict.OPEN: "skipped"}
    cases = [(one.claim, outcomes[one.verdict], "; ".join((one.because, *one.figures))) for one in parts]
    return junit_suite(cases, tool=_TOOL)
