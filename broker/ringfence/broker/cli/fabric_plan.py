"""`ringfence fabric plan`, `apply` and `remove`: routes and packet filter of a fabric on this node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.fabric_options import with_documents
from ringfence.broker.cli.output import API_VERSION
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from datetime import datetime

    from ringfence.fabric.plan import FabricPlan
    from ringfence.policy.fabrics import Fabric
    from ringfence.policy.model import Model

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _documents(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which fabric's documents and which members are meant."""
    for option in (
        click.option(
            "--member",
            "given",
            multiple=True,
            metavar="JOB=ADDR[,ADDR...]",
            help="Addresses of a job that a FabricGrant in force lets use it, this node's own among them.",
        ),
        click.option(
            "--members",
            "file",
            type=_FILE,
            help='The same for several jobs, as JSON: {"NAMESPACE/JOB": ["ADDR", ...]}.',
        ),
    ):
        command = option(command)
    return with_documents(command)


@click.command()
@click.argument("fabric", metavar="FABRIC")
@_documents
@click.option(
    "--sys",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/sys"),
    show_default=True,
    help="The node's /sys, or a copy.",
)
@click.option("--links", type=_FILE, metavar="FILE", help="Output of `ip -j addr` there; default: of this node.")
@click.option(
    "--routes", type=_FILE, multiple=True, metavar="FILE", help="With --links: output of `ip -j route`, -4 and -6."
)
@click.option(
    "-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True, help="How to print."
)
def plan(*, output: str, **where: Any) -> None:
    """Print what `ringfence fabric apply` does to a node, as a shell script, and do none of it.

    FABRIC is NAMESPACE/NAME, or NAME where that is one alone. Its interfaces get a routing table each, settings that
    keep them apart, and a packet filter of its own by which only members of one job reach each other, on its ports.
    """
    planned = _planned(**where)
    click.echo(_json(planned) if output == "json" else _script(planned), nl=False)


@click.command()
@click.argument("fabric", metavar="FABRIC")
@_documents
@click.option("--dry-run", is_flag=True, help="Have nft check it and print what would change of the rest.")
def apply(*, dry_run: bool, **where: Any) -> None:
    """Put the plan of a fabric onto this node, as root: as a whole, or not at all.

    Members are those that are named, and nobody else: an address that is left out is cut off at once. Applied again it
    changes nothing.
    """
    from ringfence.broker.fabric.apply import apply as applied
    from ringfence.broker.fabric.apply import check

    planned = _planned(**where, sys=Path("/sys"), links=None, routes=())
    key = planned.fabric.key
    if dry_run:
        click.echo(check(planned), nl=False)
        click.echo(f"fabric {key} can be applied", err=True)
    else:
        click.echo(f"fabric {key} is applied" if applied(planned) else f"fabric {key} was applied: nothing changed")


@click.command()
@click.argument("fabric", metavar="FABRIC")
def remove(*, fabric: str) -> None:
    """Take away all that `ringfence fabric apply` made of a fabric on this node, as root.

    FABRIC is NAMESPACE/NAME; no document is needed. Interfaces get back the settings that they had. Nothing on the
    node then keeps anybody off the fabric.
    """
    import re

    from ringfence.broker.fabric.apply import remove as removed

    if not re.fullmatch(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}", fabric):
        raise click.BadParameter(f"{fabric!r} is not NAMESPACE/NAME", param_hint="FABRIC")
    click.echo(f"fabric {fabric} is removed" if removed(fabric) else f"this node has nothing of fabric {fabric}")


def _planned(
    *,
    fabric: str,
    folder: Path,
    trust_domain: str | None,
    file: Path | None,
    given: tuple[str, ...],
    sys: Path,
    links: Path | None,
    routes: tuple[Path, ...],
) -> FabricPlan:
    from datetime import UTC, datetime

    from ringfence.broker.cli.fabric_intent import fabric_of, model_of
    from ringfence.broker.fabric.apply_links import live_links
    from ringfence.broker.fabric.sysfs import read_node
    from ringfence.fabric.plan import plan_node
    from ringfence.fabric.plan_links import read_links

    if routes and links is None:
        raise click.UsageError("--routes go with --links: both are of one node")
    now = datetime.now(UTC)
    model = model_of(folder, trust_domain, now)
    found = fabric_of(model, fabric)
    texts = tuple(path.read_text(encoding="utf-8", errors="replace") for path in routes)
    held = live_links() if links is None else read_links(links.read_text(encoding="utf-8", errors="replace"), texts)
    return plan_node(found, read_node(sys), held, _jobs(model, found, now, _named(file, given)))


def _named(file: Path | None, given: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Jobs as they are named, with addresses as they are written."""
    named = list(_read(file).items()) if file else []
    for text in given:
        job, equals, addresses = text.partition("=")
        if not job or not equals:
            raise click.BadParameter(f"{text!r} is not JOB=ADDR", param_hint="--member")
        named.append((job, [one.strip() for one in addresses.split(",") if one.strip()]))
    return named


def _read(file: Path) -> dict[str, list[str]]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RingfenceError(Kind.INVALID, f"no JSON: {error}", where=str(file), hint="Correct it") from None
    fits = isinstance(read, dict) and all(isinstance(value, list) for value in read.values())
    if not fits or not all(isinstance(one, str) for value in read.values() for one in value):
        hint = 'Write {"NAMESPACE/JOB": ["ADDR", ...]}'
        raise RingfenceError(Kind.INVALID, "no addresses by job", where=str(file), hint=hint)
    return dict(read)


def _jobs(
    model: Model, fabric: Fabric, now: datetime, named: list[tuple[str, list[str]]]
) -> dict[str, tuple[str, ...]]:
    """Every job with a grant in force, most of them without a member; raises DENIED for one that has none."""
    from ringfence.broker.cli.fabric_intent import job_of

    grants = [one for one in model.fabric_grants.values() if one.fabric == fabric.key and one.in_force(now)]
    jobs: dict[str, tuple[str, ...]] = {one.job_key: () for one in grants}
    for name, addresses in named:
        key = job_of(model, fabric, name, now)
        jobs[key] = (*jobs[key], *addresses)
    return jobs


def _script(planned: FabricPlan) -> str:
    from ringfence.fabric.plan_nft import ruleset
    from ringfence.fabric.plan_routes import batch, wanted
    from ringfence.fabric.plan_sysctl import sysctl_text

    entries = wanted(planned)
    parts = ["set -e\n", _fed("nft -f -", ruleset(planned)), sysctl_text(planned)]
    parts += [_fed(f"ip -{version} -batch -", batch(entries, version)) for version in (4, 6)]
    return "".join(parts)


def _fed(command: str, text: str) -> str:
    return f"{command} <<'END'\n{text}END\n" if text else ""


def _json(planned: FabricPlan) -> str:
    from ringfence.fabric.plan_nft import ruleset
    from ringfence.fabric.plan_routes import batch, wanted
    from ringfence.fabric.plan_sysctl import settings

    entries = wanted(planned)
    told = {
        "apiVersion": API_VERSION,
        "kind": "FabricPlan",
        "fabric": planned.fabric.key,
        "interfaces": {nic.name: [str(one) for one in nic.addresses] for nic in planned.nics},
        "members": {one.job: [str(address) for address in one.addresses] for one in planned.members},
        "nft": ruleset(planned),
        "sysctl": settings(planned),
        "ip4": batch(entries, 4),
        "ip6": batch(entries, 6),
    }
    return json.dumps(told, indent=2) + "\n"
