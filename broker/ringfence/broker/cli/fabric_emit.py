"""`ringfence fabric emit`: a fabric in the formats of those who enforce it, and of those who bring pods onto it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.fabric_options import with_documents

_TARGETS = ("opensm", "ufm", "sriov", "nad", "multi-network-policy", "dra", "gke", "efa", "slurm", "slurm-prolog")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", metavar="TARGET", type=click.Choice(_TARGETS))
@click.argument("fabric", metavar="FABRIC")
@with_documents
@click.option("--guid", "guids", multiple=True, metavar="GUID", help="opensm, ufm: of a port that is a member.")
@click.option("--guids", "guid_file", type=_FILE, metavar="FILE", help="The same, one a line; # begins a comment.")
@click.option("--resource-name", default="", metavar="NAME", help="sriov, nad: what the device plugin calls them.")
@click.option("--master", default="", metavar="IF", help="nad: the node's interface under macvlan.")
@click.option("--ipam", default="", metavar="JSON", help="sriov, nad: default: whereabouts in the fabric's network.")
@click.option("--operator-namespace", default="", metavar="NS", help="sriov: that the operator watches.")
@click.option("--workload-label", default="", metavar="KEY", help="multi-network-policy: has the workload's name.")
@click.option("--count", type=click.IntRange(1), default=None, metavar="N", help="dra: devices for each pod.")
@click.option("--vpc", default="", metavar="VPC", help="gke, efa: of the fabric.")
@click.option("--subnet", "subnets", multiple=True, metavar="SUBNET", help="gke: one for each card, in their order.")
@click.option("--vnis", default="", metavar="FIRST-LAST", help="slurm: that it may hand to jobs on Slingshot.")
@click.option("--partition", "partitions", multiple=True, metavar="NAME", help="slurm-prolog: whose nodes are on it.")
@click.option("--group", "groups", multiple=True, metavar="GROUP=NS", help="slurm-prolog: whose tenant its users are.")
def emit(target: str, fabric: str, folder: Path, trust_domain: str | None, **given: Any) -> None:
    """Print what TARGET is told of FABRIC.

    opensm, ufm, sriov, nad, multi-network-policy, dra, gke, efa, slurm, slurm-prolog.

    FABRIC is NAMESPACE/NAME, or NAME where that is one alone. Nothing is sent anywhere. A target that does not fit the
    fabric's kind is refused, and so is one without a fact that it needs.
    """
    from ringfence.broker.cli.fabric_intent import fabric_of, model_of
    from ringfence.fabric.emit.asked import Asked
    from ringfence.fabric.emit.targets import emit as emitted

    now = datetime.now(UTC)
    model = model_of(folder, trust_domain, now)
    asked = Asked(target, model, fabric_of(model, fabric), now, _facts(**given))
    click.echo(emitted(asked), nl=False)


def _facts(*, guids: tuple[str, ...], guid_file: Path | None, count: int | None, **given: Any) -> Any:
    from ringfence.fabric.emit.asked import Facts

    return Facts(
        guids=(*guids, *(_listed(guid_file) if guid_file else ())),
        count=count or 0,
        resource=given["resource_name"],
        operator=given["operator_namespace"],
        label=given["workload_label"],
        **{name: given[name] for name in ("master", "ipam", "vpc", "subnets", "vnis", "partitions", "groups")},
    )


def _listed(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [line for line in lines if line]
