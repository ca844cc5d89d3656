"""Options that the commands have in common which run a daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ringfence.broker.features import features_of

log_level_option: Callable[[Any], Any] = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="RINGFENCE_LOG_LEVEL",
    help="What to log.",
)


def feature_option(daemon: str, envvar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option by which *daemon* is given the features that it has; a name that is not one is refused with the list.

    The command gets `features`, a tuple of names; a file says `features = ["NAME"]`, *envvar* has them between spaces.
    """
    return click.option(
        "--feature",
        "features",
        multiple=True,
        type=click.Choice(features_of(daemon)),
        envvar=envvar,
        help="Have a part whose standard may still change; may be given again.",
    )
