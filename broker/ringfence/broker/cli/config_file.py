"""`--config FILE`: a TOML file that stands in for flags and environment that were not given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ringfence.certs.errors import Kind, RingfenceError


def _read(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    import tomllib

    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise RingfenceError(Kind.INVALID, f"cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RingfenceError(Kind.INVALID, f"no TOML: {error}", where=str(path)) from error
    known = {parameter.name for parameter in context.command.params} - {"config"}
    unknown = sorted(set(found) - known)
    if unknown:
        names = ", ".join(sorted(name for name in known if name))
        raise RingfenceError(Kind.INVALID, f"unknown setting {unknown[0]!r}", where=str(path), hint=f"Known: {names}")
    # click's own order does the rest: flag, environment, default_map, default.
    context.default_map = {**(context.default_map or {}), **found}
    return path


config_option: Callable[[Any], Any] = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="RINGFENCE_CONFIG",
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="TOML file with the settings below (underscores for dashes); flags and environment win over it.",
)
