"""`ringfence graph`: who reaches whom, by every way that there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.fabric_options import with_documents
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import output_option, show_list

if TYPE_CHECKING:
    from ringfence.policy.reach import Reach
    from ringfence.policy.way import Leg

_COLUMNS = ("way", "target", "verdict", "enforcedBy", "because")
_WALLS = click.Choice(("capture", "isolate"))


@click.group()
def command() -> None:
    """Ask who reaches whom: through the proxies, past them, and on a fabric."""


@command.command()
@click.argument("caller", metavar="FROM")
@click.argument("called", metavar="TO")
@click.option("--port", default="", help="Name or number; default: every port that is declared.")
@click.option("--from-run", "caller_walls", type=_WALLS, help="FROM is started by `ringfence run` with that flag.")
@click.option("--to-run", "called_walls", type=_WALLS, help="TO is started by `ringfence run` with that flag.")
@with_documents
@output_option
def reach(
    *,
    caller: str,
    called: str,
    port: str,
    caller_walls: str | None,
    called_walls: str | None,
    folder: Path,
    trust_domain: str | None,
    output: str,
) -> int:
    """May FROM reach TO, by which way, and what enforces that? Ends with 0 when intent lets it by any, else with 3.

    FROM and TO are NAMESPACE/NAME; TO may be an External. Each way has a verdict: allow; some, where it depends on the
    call; deny; or unknown, where intent lets nothing and nothing that is known of keeps it out. With the documents that
    have a say, by file and line.
    """
    from datetime import UTC, datetime

    from ringfence.broker.cli.fabric_intent import model_of
    from ringfence.policy.reach import Asked
    from ringfence.policy.reach import reach as answer
    from ringfence.policy.reach_nic import Walls

    now = datetime.now(UTC)
    walls = (Walls(one) if one is not None else None for one in (caller_walls, called_walls))
    told = answer(model_of(folder, trust_domain, now), Asked(caller, called, port, *walls), now)
    if output == "table":
        click.echo(_story(told))
    else:
        rows = [_row(leg) for leg in told.legs]
        show_list("Reach", rows, columns=_COLUMNS, output=output, name="target")
    return OK if told.allowed else ANSWER_IS_NO


def _row(leg: Leg) -> dict[str, Any]:
    lines = [
        {"document": one.document, "path": one.origin.path, "line": one.origin.line, "says": one.says}
        for one in leg.lines
    ]
    return {
        "way": leg.way.value,
        "target": leg.target,
        "verdict": leg.verdict.value,
        "enforcedBy": leg.enforced_by,
        "because": leg.because,
        "intent": lines,
    }


def _story(told: Reach) -> str:
    """A line for each way, and below it why, by what, and where that is written."""
    lines: list[str] = []
    for leg in told.legs:
        lines.append(f"{leg.way.value}: {leg.target}: {leg.verdict.value}")
        lines += [f"  why          {leg.because}", f"  enforced by  {leg.enforced_by}"]
        lines += [f"  intent       {one}" for one in leg.lines]
    return "\n".join(lines)
